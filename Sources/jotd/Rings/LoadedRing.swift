import Rotation

/// The rings that the daemon has, by the names of their keys.
typealias RingsInUse = [String: (folder: Path, key: Key)]

/// A ring of keys with what the host has of it: its folder, and what it can sign with.
struct LoadedRing: Sendable {
  /// What no other reading of the folder has.
  let handle = Handle()
  private(set) var settings: KeySettings
  let folder: KeyFolder
  /// Nil for a ring that is only looked at.
  private let lock: KeyFolderLock?
  var ring: KeyRing
  /// By their kids.
  private var signers: [String: any Signer] = [:]
  /// What the ring asked for last, and was not done.
  private var unfinished: KeyRing.Work?

  final class Handle: Sendable {}

  var name: String { settings.label.name }

  /// What is there, without a change; nil for a key that is no ring. `isOwner`: nobody else may
  /// change it from now on.
  init?(
    reading settings: KeySettings, longestLife: Duration, isOwner: Bool = false,
    _ warnings: inout [String]
  ) throws(Failure) {
    guard let policy = settings.policy(longestLife: longestLife), let generated = settings.generated
    else { return nil }
    self.settings = settings
    folder = KeyFolder(path: generated.folder)
    lock = isOwner ? try folder.lock() : nil
    let (ring, found) = try folder.read(policy)
    self.ring = ring
    warnings += found
  }

  /// The same ring, in another configuration.
  func with(_ settings: KeySettings) -> LoadedRing {
    var ring = self
    ring.settings = settings
    return ring
  }

  /// Does what is to be done until there is a key that signs: makes the first one where there is
  /// none.
  mutating func begin() throws(Failure) {
    var turn = ring.step(.woke, at: .now)
    while !ring.canSign {
      guard let work = turn.work else {
        throw ring.failure ?? Failure("there is no key to sign with")
      }
      let (input, signer) = folder.carryOut(work)
      if let signer { add(signer) }
      turn = ring.step(input, at: .now)
    }
    // What is left to do is the daemon's.
    unfinished = turn.work
  }

  /// Takes what the ring asked for, to be done.
  mutating func takeUnfinished() -> KeyRing.Work? {
    defer { unfinished = nil }
    return unfinished
  }

  /// Reads the private key of the active member, to sign with it without a daemon.
  mutating func loadActive() throws(Failure) {
    guard let active = ring.signing else {
      throw Failure("\(folder.path): there is no key yet: the first start of jotd makes it")
    }
    let (input, signer) = folder.carryOut(.load(number: active.number, kid: active.kid))
    if case .failed(let failure) = input { throw failure }
    if let signer { add(signer) }
  }

  mutating func add(_ signer: any Signer) {
    if let kid = signer.kid { signers[kid] = signer }
  }

  /// Forgets what it can sign with and is not to any more.
  mutating func forgetRetired() {
    for member in ring.members where member.state == .retired { signers[member.kid] = nil }
  }

  /// The key as it is now. Throws while nothing can sign, and where OpenSSL does not take a public
  /// key of the state.
  func key() throws(Failure) -> Key {
    guard let active = ring.signing, let signer = signers[active.kid] else {
      throw Failure("\(folder.path): there is no key that signs")
    }
    var others: [any SignatureVerifier] = []
    for member in ring.others {
      others.append(try PublicKeyVerifier(member.publicKey, member.algorithm, kid: member.kid))
    }
    return Key(name: name, signing: signer, others: others, publication: settings.publication)
  }
}

extension KeySettings {
  /// What a ring is to do; nil for a key that is none.
  func policy(longestLife: Duration) -> KeyRing.Policy? {
    generated.map {
      KeyRing.Policy(
        algorithm: label.algorithm, rotateEvery: $0.rotateEvery, publishAhead: $0.publishAhead,
        longestLife: longestLife)
    }
  }
}
