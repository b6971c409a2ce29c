import Rotation

@testable import jotd

/// The moment of all tests: 2027-01-15T08:00:00Z.
let moment = Instant(seconds: 1_800_000_000)

/// A signer without cryptography: all its signatures are zeros.
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
    signature.allSatisfy { $0 == 0 }
  }
}

/// What a configuration says, and what is wrong with it.
func read(_ yaml: String) -> (settings: Settings?, diagnostics: Diagnostics) {
  let diagnostics = Diagnostics()
  var reader = ConfigurationReader(diagnostics)
  do throws(Diagnostic) {
    reader.readMain(
      try YAMLDocument.root(of: Array(yaml.utf8), file: "jotd.yaml", diagnostics),
      file: "jotd.yaml")
  } catch { diagnostics.error(error.location, error.text) }
  return (reader.settings, diagnostics)
}

/// Two identities without deliveries, as the daemon publishes them once they have their tokens.
func publishedStore() throws -> StatusStore {
  let (settings, diagnostics) = read(
    """
    signing: { secret: { env: SECRET } }
    identities:
      door: { user_id: door-client, role: operator, allow: [ { user: root } ] }
      yard: { user_id: yard-client, role: viewer, lifetime: 1h, refresh_before: 10min }
    """)
  guard let settings else { throw Failure("\(diagnostics.errors)") }
  let keys = Keys(signing: ZeroSigner())
  let store = StatusStore(StatusStore.General(access: Access(settings), keys: keys))
  var rotator = Rotator(keys: keys)
  var random = SystemRandomNumberGenerator()
  _ = store.publish(
    rotator.step(.configured(settings.identities, keys), at: moment, random: &random))
  return store
}
