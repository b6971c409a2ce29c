@testable import Rotation
@testable import jotd

/// A signer whose signatures are all zero, so that an input can have the right one.
struct ZeroSigner: Signer {
  let algorithm = Algorithm.hs256
  let keyID = KeyID("zero")

  func sign(_ message: [UInt8], into signature: inout [UInt8]) {
    signature = [UInt8](repeating: 0, count: algorithm.hashBytes)
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    signature == [UInt8](repeating: 0, count: algorithm.hashBytes)
  }
}

/// The moment of all inputs.
let now = Instant(seconds: 1_800_000_000)

/// The configuration: findings steer no terminal, and what is accepted makes tokens that the
/// verifier takes.
@Sendable func readConfiguration(_ bytes: [UInt8]) {
  let findings = Findings()
  var reader = ConfigurationReader(findings)
  do throws(Finding) {
    reader.readMain(
      try YAMLDocument.root(of: bytes, file: "jotd.yaml", findings), file: "jotd.yaml")
  } catch { findings.error(error.place, error.text) }
  for finding in findings.errors + findings.warnings {
    let text = finding.description
    precondition(
      !text.isEmpty && text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
  }
  guard findings.errors.isEmpty, let settings = reader.settings else { return }
  var minter = Minter()
  for identity in settings.identities {
    guard
      let token = try? minter.mint(
        identity.claims, lifetime: identity.lifetime, at: now, signer: ZeroSigner())
    else { fatalError("\(identity.name) cannot be minted") }
    do {
      _ = try Verifier(ZeroSigner()).verify(token.compact, at: now)
    } catch {
      // `nbf` is the configuration's own affair.
      precondition(error.reason == .notYetValid, "\(error)")
    }
  }
}

/// A compact token: what is accepted has the four claims and is of this time, and what is shown of
/// it can be read again.
@Sendable func readToken(_ bytes: [UInt8]) {
  if let claims = try? Verifier(ZeroSigner()).verify(bytes, at: now) {
    precondition(claims.issuedAt.instant <= now && claims.expiresAt.instant > now)
    precondition(
      bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).count == 3)
  }
  let parsed = try? CompactToken(parsing: bytes)
  for value in [parsed?.header, parsed?.claims, try? JSON(parsing: bytes)].compactMap(\.self) {
    let text = value.text
    guard let again = try? JSON(parsing: Array(text.utf8)) else { fatalError("\(text) is no JSON") }
    precondition(again.text == text)
    precondition(text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
  }
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

/// A file that an earlier run delivered, of the format that the first byte says: it is kept only
/// if it is, byte for byte, what would be delivered now.
@Sendable func readDeliveredFile(_ bytes: [UInt8]) {
  let formats = [Format.token, .env(variable: "TOKEN"), .json, .header]
  guard let first = bytes.first else { return }
  let content = Array(bytes.dropFirst())
  let file = FileDelivery(
    path: Path("/a"), format: formats[Int(first) % formats.count], owner: nil, group: nil,
    mode: 0o600, inPlace: false)
  guard
    let identity = try? Identity(
      name: "a", userID: "u", role: .viewer, claims: [], lifetime: .seconds(86_400),
      refreshBefore: .seconds(3_600), deliveries: [.file(file)], algorithm: .hs256)
  else { fatalError("the identity is right") }
  var rotator = Rotator(signer: ZeroSigner())
  rotator.apply([identity], at: now)
  rotator.takeStock(at: now) { _ in content }
  guard let token = rotator.takeChanged().first?.token else { return }
  precondition(token.issued <= now && token.expiry - now > identity.refreshBefore)
  precondition(Delivery.file(file).content(token, of: identity) == content)
}

extension [UInt8] {
  fileprivate func ends(with text: String) -> Bool {
    suffix(text.utf8.count) == Array(text.utf8)[...]
  }
}
