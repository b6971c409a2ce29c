import Rotation
import Testing

@testable import jotd

/// From YAML to diagnostics and settings. All messages, beside the files that cause them, are in
/// Tests/fixtures: these are for the quick loop.
struct ConfigurationTests {
  private func errors(_ yaml: String) -> [String] {
    read(yaml).diagnostics.errors.map(\.description)
  }

  @Test func whatIsRightIsMeant() throws {
    let (settings, diagnostics) = read(
      """
      signing: { algorithm: HS512, secret: { file: /etc/jotd/secret, encoding: hex } }
      defaults: { lifetime: 2h }
      identities:
        door:
          user_id: door-client
          role: admin
          refresh_before: 20min
          deliver: [ { file: /run/jotd/door.jwt, mode: "0440", format: header } ]
          on_rotate: [ { reload: door.service } ]
      """)
    #expect(diagnostics.errors.isEmpty)
    let found = try #require(settings)
    let key = found.keys[0].settings
    #expect(key.label.algorithm == .hs512 && key.secret?.encoding == .hex)
    let door = try #require(found.identities.first)
    #expect((door.name, door.bearer) == ("door", .user(ByteString("door-client"), .admin)))
    #expect(door.lifetime == .seconds(7_200) && door.refreshBefore == .seconds(1_200))
    #expect(door.hooks == [.reload(unit: "door.service")] && door.access.isEmpty)
    guard case .file(let file)? = door.deliveries.first else {
      Issue.record("there is no delivery")
      return
    }
    #expect(file.path == Path("/run/jotd/door.jwt") && file.format == .header && file.mode == 0o440)
  }

  @Test func errorsSayWhereAndWhatIsAllowed() {
    #expect(
      errors("signing: { secret: { env: S } }\nidentities: { a: { user_id: u, role: guest } }")
        .contains { $0.hasPrefix("jotd.yaml:2:38: ") && $0.contains("viewer, operator, admin") })
    #expect(
      errors("signing: { secret: { env: S } }\nidentitys: {}").contains {
        $0.hasPrefix("jotd.yaml:2:1: ") && $0.contains("\"identities\"")
      })
    #expect(
      errors("").first == "jotd.yaml:1:1: is empty: it must have \"signing\" and \"identities\"")
  }

  @Test func aMisplacedSecretIsNotRepeated() {
    let secret = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4"
    for yaml in [
      "signing: { secret: \(secret) }\nidentities: {}",
      "signing: { secret: { \(secret): x } }\nidentities: {}",
      "\(secret): 1\nsigning: { secret: { env: S } }\nidentities: {}",
    ] {
      let said = errors(yaml)
      #expect(!said.isEmpty && !said.contains { $0.contains(secret) }, "\(yaml)")
    }
  }
}
