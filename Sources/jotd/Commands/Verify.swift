import ArgumentParser
import Rotation

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check a token, and say why it is not valid.",
    discussion: """
      Checks form, algorithm, signature, required claims, times and role. Exits with 0 only when \
      the token is valid, with 65 when it is not. The reasons are expired, signature, algorithm, \
      malformed, missing_claim, role and not_yet_valid.
      """)

  @Option(help: "The least role that will do (default: any token will, also one without a role).")
  var requiredRole: Role?

  @Flag(help: "Print the result as JSON.")
  var json = false

  @Option(
    help: ArgumentHelp(
      "Take the public keys of this JWK Set; no configuration is read.", valueName: "file"),
    completion: .file())
  var jwks: String?

  @OptionGroup var token: TokenArgument
  @OptionGroup var key: KeyOptions

  func validate() throws {
    guard jwks == nil || key.isEmpty else {
      throw ValidationError("--jwks brings its own keys: leave the other key options out.")
    }
  }

  /// What verifies, and whether its keys have names.
  private func verifier() throws -> (Verifier, haveNames: Bool) {
    guard let jwks else {
      let (keys, _) = try key.keys()
      return (Verifier(keys), keys.haveNames)
    }
    do throws(Failure) {
      // A pipe will do, as of a command that fetches it.
      let text = try Descriptor.open(jwks).read(upTo: Limits.publicKeysBytes)
      return (Verifier(try PublicKeySet(parsing: text).verifiers), true)
    } catch {
      printNote("\(jwks): \(error)")
      throw ExitCode.configuration
    }
  }

  func run() throws {
    let (verifier, haveNames) = try verifier()
    let now = Instant.now
    do throws(VerificationError) {
      let text = try token.read()
      let claims = try verifier.verify(text, at: now, requiredRole: requiredRole)
      guard !json else {
        let key = haveNames && !claims.key.isEmpty ? [JSON.Member("key", .string(claims.key))] : []
        let result =
          [JSON.Member("valid", .bool(true))] + key
          + [JSON.Member("claims", .object(claims.all))]
        return printLine(JSON.object(result).text)
      }
      printLine(
        "valid: \(JSON.string(claims.bearer.name).text), "
          + (claims.bearer.role.map { "\($0.rawValue), " } ?? "")
          + (claims.expiresAt.isInCalendar
            ? "expires \(claims.expiresAt.instant.rfc3339), "
              + "in \((claims.expiresAt.instant - now).approximate)"
            : "expires \(claims.expiresAt.when)"))
    } catch {
      if json {
        printLine(
          JSON.object([
            JSON.Member("valid", .bool(false)),
            JSON.Member("reason", .string(error.reason.rawValue)),
            JSON.Member("detail", .string(error.detail)),
          ]).text)
      } else {
        printNote("not valid: \(error.reason.rawValue): \(error.detail)")
      }
      throw ExitCode.badData
    }
  }
}
