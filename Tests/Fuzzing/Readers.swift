@testable import Rotation
@testable import jotd

/// A signer whose signatures are all zero, so that an input can have the right one.
struct ZeroSigner: Signer {
  let algorithm = Algorithm.hs256
  let kid: String? = nil
  let keyID = KeyID("zero")
  let signatureBytes = 32
  let publicKey: PublicKey? = nil

  func sign(_ message: [UInt8], into signature: inout [UInt8]) {
    signature = [UInt8](repeating: 0, count: signatureBytes)
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    signature == [UInt8](repeating: 0, count: signatureBytes)
  }
}

/// The moment of all inputs.
let now = Instant(seconds: 1_800_000_000)

/// The configuration: findings steer no terminal, and what is accepted makes tokens that the
/// verifier takes.
@Sendable func readConfiguration(_ bytes: [UInt8]) {
  let diagnostics = Diagnostics()
  var reader = ConfigurationReader(diagnostics)
  do throws(Diagnostic) {
    reader.readMain(
      try YAMLDocument.root(of: bytes, file: "jotd.yaml", diagnostics), file: "jotd.yaml")
  } catch { diagnostics.error(error.location, error.text) }
  for diagnostic in diagnostics.errors + diagnostics.warnings {
    let text = diagnostic.description
    precondition(
      !text.isEmpty && text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
  }
  // Commands that only ask read as much as they can of anything, and of what is right the same.
  let reading = SocketPath.read(bytes, "jotd.yaml")
  guard diagnostics.errors.isEmpty, let settings = reader.settings else { return }
  switch (reading, settings.socket?.path) {
  case (.path(let found), let path?) where found == path: break
  case (.none, nil): break
  default: preconditionFailure("another socket: \(reading)")
  }
  var minter = Minter()
  var random = SystemRandomNumberGenerator()
  for identity in settings.identities {
    guard
      let token = try? minter.mint(
        identity.template, lifetime: identity.lifetime, at: now, signer: ZeroSigner(),
        random: &random)
    else { fatalError("\(identity.name) cannot be minted") }
    do {
      _ = try Verifier(Keys(signing: ZeroSigner())).verify(token.compact, at: now)
    } catch {
      // `nbf` is the configuration's own affair.
      precondition(error.reason == .notYetValid, "\(error)")
    }
  }
}

/// A compact token: what is accepted has the four claims and is of this time, and what is shown of
/// it can be read again.
@Sendable func readToken(_ bytes: [UInt8]) {
  if let claims = try? Verifier(Keys(signing: ZeroSigner())).verify(bytes, at: now) {
    precondition(claims.issuedAt.instant <= now && claims.expiresAt.instant > now)
    precondition(
      bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).count == 3)
  }
  let parsed = try? CompactToken(parsing: bytes)
  for value in [parsed?.header, parsed?.claims].compactMap(\.self) { checkWritten(value) }
}

/// A private key in PEM, DER or JWK, for the algorithm that the first byte says: what is accepted
/// signs what it verifies, also by its public half alone, which is a JWK.
@Sendable func readPrivateKey(_ bytes: [UInt8]) {
  let algorithms = Algorithm.allCases.filter { !$0.takesSecret }
  guard let first = bytes.first, bytes.count <= Limits.privateKeyBytes else { return }
  let algorithm = algorithms[Int(first) % algorithms.count]
  let encoded = try? Secret(capacity: bytes.count) { output in
    for byte in bytes.dropFirst() { output.append(byte) }
  }
  guard let encoded, let signer = try? PrivateKeySigner(reading: encoded, algorithm) else { return }
  var signature: [UInt8] = []
  guard (try? signer.sign(bytes, into: &signature)) != nil,
    signature.count == signer.signatureBytes,
    (try? signer.verifies(signature, of: bytes)) == true
  else { fatalError("what it signs it does not verify") }
  guard let key = signer.publicKey, key.fault(for: algorithm) == nil,
    let jwk = try? JSON(parsing: key.thumbprintInput), (try? PublicKey(jwk: jwk)) == key,
    let verifying = try? PublicKeyVerifier(key, algorithm, kid: nil),
    (try? verifying.verifies(signature, of: bytes)) == true
  else { fatalError("its public half does not verify") }
}

/// A JWK Set: what is taken of it verifies, and takes no signature of zeros.
@Sendable func readPublicKeys(_ bytes: [UInt8]) {
  guard let keys = try? PublicKeySet(parsing: bytes) else { return }
  precondition(!keys.verifiers.isEmpty && keys.verifiers.count <= 2 * Limits.publishedKeys)
  for key in keys.verifiers {
    for count in [0, 64, 96, 256] {
      let zeros = [UInt8](repeating: 0, count: count)
      precondition((try? key.verifies(zeros, of: bytes)) != true)
    }
  }
}

/// The state of a ring of keys: whatever it says, the ring comes to a key that signs, which only it
/// says, and saves what it reads again.
@Sendable func readRing(_ bytes: [UInt8]) {
  guard let saved = try? KeyRing.Saved(parsing: bytes) else { return }
  let moment = KeyRing.Moment(wall: now, sinceBoot: .seconds(1_000))
  var ring = KeyRing(
    saved, files: [], lastNumber: 0,
    KeyRing.Policy(
      algorithm: .ed25519, rotateEvery: .seconds(86_400), publishAhead: .seconds(3_600),
      longestLife: .seconds(86_400)), bootID: "boot", at: moment)
  var turn = ring.step(.woke, at: moment)
  for _ in 0..<64 {
    switch turn.work {
    case .make(_, let number)?:
      let point = Array("key \(number)".utf8)
      let key = PublicKey.ed25519(point + [UInt8](repeating: 7, count: 32 - point.count))
      turn = ring.step(.made(kid: "made-here-\(number)", key), at: moment)
    case .save(let text)?:
      guard (try? KeyRing.Saved(parsing: text)) != nil else {
        fatalError("it cannot be read again")
      }
      turn = ring.step(.done, at: moment)
    case .load?, .remove?: turn = ring.step(.done, at: moment)
    case nil:
      precondition(ring.canSign)
      return
    }
  }
  fatalError("it does not rest")
}

/// JSON (RFC 8259): what is accepted is the same when it is written and read again.
@Sendable func readJSON(_ bytes: [UInt8]) {
  if let value = try? JSON(parsing: bytes) { checkWritten(value) }
}

private func checkWritten(_ value: JSON) {
  let text = value.text
  guard let again = try? JSON(parsing: Array(text.utf8)) else { fatalError("\(text) is no JSON") }
  precondition(again.text == text)
  precondition(text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
}

/// The address that systemd binds: what is taken for one has that form.
@Sendable func readCredentialAddress(_ bytes: [UInt8]) {
  guard let address = CredentialAddress(bytes) else { return }
  precondition(!address.unit.isEmpty && !address.unit.utf8.contains(UInt8(ascii: "/")))
  precondition(Identity.fault(inName: address.credential) == nil)
  precondition(bytes.first == 0)
  precondition(bytes.ends(with: "/unit/\(address.unit)/\(address.credential)"))
}

/// /proc/PID/cgroup: what is taken for a unit is the name of one.
@Sendable func readControlGroups(_ bytes: [UInt8]) {
  guard let unit = Peer.unit(inControlGroups: bytes) else {
    return
  }
  precondition(unit.hasSuffix(".service") || unit.hasSuffix(".scope"))
  precondition(!unit.utf8.contains(UInt8(ascii: "/")) && !unit.utf8.contains(UInt8(ascii: "\n")))
}

/// A file that an earlier run delivered, of the format that the first byte says, in place or not:
/// it is kept only if it is, byte for byte, what would be delivered now. Another token is written
/// over by one that the next start keeps, and nothing else is.
@Sendable func readDeliveredFile(_ bytes: [UInt8]) {
  let template = try? TextTemplate(
    "# {identity}\nu={token}&e={expires_at}&v={token}\n", identity: "a")
  guard let template else { fatalError("the template is right") }
  let formats = [Format.token, .env(variable: "TOKEN"), .json, .header, .text(template)]
  guard let first = bytes.first else { return }
  let content = Array(bytes.dropFirst())
  let delivery = Delivery.file(
    FileDelivery(
      path: Path("/a"), format: formats[Int(first) % formats.count], owner: nil, group: nil,
      mode: 0o600, inPlace: first & 4 != 0))
  guard
    let identity = try? Identity(
      name: "a", bearer: .user(ByteString("u"), .viewer), claims: [], lifetime: .seconds(86_400),
      refreshBefore: .seconds(3_600), deliveries: [delivery], key: KeyLabel())
  else { fatalError("the identity is right") }
  switch fate(of: content, at: delivery, of: identity) {
  case .kept(let token):
    precondition(token.issuedAt <= now && token.expiresAt - now > identity.refreshBefore)
    precondition(delivery.content(token, of: identity) == content)
  case .replaced(let new):
    precondition(delivery.isReplaceable(content))
    guard case .kept = fate(of: new, at: delivery, of: identity) else {
      fatalError("what was delivered is not kept")
    }
  case .spared: precondition(!delivery.isReplaceable(content))
  }
}

/// What becomes of what a start finds.
private enum Fate {
  case kept(Token)
  /// These bytes are written over it.
  case replaced([UInt8])
  case spared
}

private func fate(of content: [UInt8], at delivery: Delivery, of identity: Identity) -> Fate {
  let keys = Keys(signing: ZeroSigner())
  var rotator = Rotator(keys: keys)
  var random = SystemRandomNumberGenerator()
  var turn = rotator.step(.configured([identity], keys), at: now, random: &random)
  var status = turn.changed.first
  var isKept = false
  var written: [UInt8]?
  while !turn.actions.isEmpty {
    var looks: [(job: Job.ID, outcome: Outcome)] = []
    for action in turn.actions {
      switch action {
      case .run(let job):
        switch job.operation {
        case .look: looks.append((job.id, .found(.file(content, isAsConfigured: true))))
        case .write(let bytes): written = bytes
        case .remove: fatalError("a delivery is removed")
        }
      case .sign: fatalError("what signs here is asked for elsewhere")
      case .report(.kept): isKept = true
      case .report: break
      }
    }
    if looks.isEmpty { break }
    turn = rotator.step(.ended(looks), at: now, random: &random)
    status = turn.changed.first ?? status
  }
  guard let status, let token = status.token else {
    fatalError("there is no token")
  }
  precondition((status.counts.issued == 0) == isKept)
  precondition(!isKept || written == nil)
  return isKept ? .kept(token) : written.map(Fate.replaced) ?? .spared
}

extension [UInt8] {
  fileprivate func ends(with text: String) -> Bool {
    suffix(text.utf8.count) == Array(text.utf8)[...]
  }
}
