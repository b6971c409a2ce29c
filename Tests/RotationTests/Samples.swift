import Glibc
import Synchronization

@testable import Rotation

/// A generator that gives the same numbers for the same seed (splitmix64).
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func chance(_ part: Double) -> Bool { Double.random(in: 0..<1, using: &self) < part }
}

/// A signer without cryptography: the signature names the key and sums the message up. It may begin
/// with something else each time, and be slow, as those of RSASSA-PSS.
final class SimulatedSigner: Signer {
  let algorithm: Algorithm
  let kid: String?
  let keyID: KeyID
  let signatureBytes = 32
  let publicKey: PublicKey?
  let isRemote: Bool
  private let isRandomised: Bool
  private let broken = Mutex(false)
  private let signatures = Mutex<UInt8>(0)

  init(_ key: Int, isRandomised: Bool = false, isRemote: Bool = false, kid: String? = nil) {
    self.isRemote = isRemote
    self.kid = kid ?? (isRandomised ? "key\(key)" : nil)
    keyID = SimulatedSigner.keyID(key)
    self.isRandomised = isRandomised
    algorithm = isRandomised ? .ps256 : .hs256
    publicKey = isRandomised ? .ed25519([UInt8](repeating: UInt8(key & 0xff), count: 32)) : nil
  }

  static func keyID(_ key: Int) -> KeyID { KeyID("key-\(key)") }

  var isBroken: Bool {
    get { broken.withLock(\.self) }
    set { broken.withLock { $0 = newValue } }
  }

  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure) {
    if isBroken { throw Failure("the signer is broken") }
    let nonce = signatures.withLock { count -> UInt8 in
      count &+= isRandomised ? 1 : 0
      return count
    }
    signature = expected(message, nonce)
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    if isBroken { throw Failure("the signer is broken") }
    return signature == expected(message, signature.first ?? 0)
  }

  private func expected(_ message: [UInt8], _ nonce: UInt8) -> [UInt8] {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in Array(keyID.description.utf8) + [nonce] + message {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    var random = Seeded(hash)
    return [nonce] + (1..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
  }
}

extension Identity {
  static func sample(
    name: String = "a", key: String = Key.standardName,
    bearer: Bearer = .user(ByteString("user"), .operator),
    type: String? = nil, hasTokenID: Bool = false, lifetime: Duration = .seconds(86_400),
    refreshBefore: Duration = .seconds(3_600), paths: [String] = [], access: [AccessRule] = []
  ) throws -> Identity {
    try Identity(
      name: name, bearer: bearer, claims: bearer.role == nil ? bearer.members : [],
      type: type, hasTokenID: hasTokenID, lifetime: lifetime, refreshBefore: refreshBefore,
      deliveries: paths.map(Delivery.sample),
      access: access,
      key: KeyLabel(name: key))
  }
}

extension Delivery {
  /// A socket where the name begins so, and a file otherwise.
  static func sample(_ path: String) -> Delivery {
    if path.hasPrefix("/socket") {
      return .socket(SocketDelivery(path: Path(path), owner: nil, group: nil, mode: 0o600))
    }
    return .file(
      FileDelivery(
        path: Path(path), format: .token, owner: nil, group: nil, mode: 0o600, inPlace: false))
  }
}

func sampleToken(_ identity: Identity, at now: Instant) -> Token {
  var minter = Minter()
  var random = Seeded(0)
  do {
    return try minter.mint(
      identity.template, lifetime: identity.lifetime, at: now, signer: SimulatedSigner(0),
      random: &random)
  } catch { fatalError("\(error)") }
}

/// A variable of the environment; nil when it is not set.
func environment(_ name: String) -> String? {
  unsafe getenv(name).map { unsafe String(cString: $0) }
}
