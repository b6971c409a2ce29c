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

  @OptionGroup var token: TokenArgument
  @OptionGroup var key: KeyOptions

  func run() throws {
    let (keys, _) = try key.keys()
    let now = Instant.now
    do throws(VerificationError) {
      let text = try token.read()
      let claims = try Verifier(keys).verify(
        text, at: now, requiredRole: requiredRole)
      guard !json else {
        let key = keys.haveNames ? [JSON.Member("key", .string(claims.key))] : []
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
