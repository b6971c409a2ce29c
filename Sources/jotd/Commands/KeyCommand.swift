import ArgumentParser
import Rotation

struct KeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key",
    abstract: "Make a private key, show what verifies tokens, or have another key sign.",
    subcommands: [
      Generate.self, PublicKeys.self, List.self, Add.self, Activate.self, Retire.self, Revoke.self,
    ])

  struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a new private key, in PEM (PKCS#8).",
      discussion: """
        ES256 and Ed25519 have short tokens and are fast; RS256 and PS256, with 2,048 bits, are \
        for verifiers that know nothing else. For HS256, HS384 and HS512, there is jotd secret.
        """)

    @Option(
      help: ArgumentHelp(
        "What the key is for: ES256, ES384, RS256, PS256, EdDSA or Ed25519.", valueName: "name"))
    var algorithm: Algorithm

    @OptionGroup var file: NewKeyFile
    @OptionGroup var config: ConfigurationOption

    func validate() throws {
      guard !algorithm.takesSecret else {
        throw ValidationError("\(algorithm.rawValue) takes a secret: make one with jotd secret.")
      }
    }

    func run() throws {
      Hardening.apply()
      let pem: Secret
      do { pem = try OpenSSLKey.generate(for: algorithm).pem() } catch {
        printNote("\(error)")
        throw ExitCode.hostError
      }
      try file.write(pem.text)
    }
  }

  struct PublicKeys: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "jwks",
      abstract: "Print the public keys of a configuration, as a JWK Set (RFC 7517).",
      discussion: "What the daemon answers at /.well-known/jwks.json, without a daemon.")

    @OptionGroup var key: KeyOptions

    func run() throws { printLine(try key.keys().keys.jwks(at: .now).text) }
  }
}
