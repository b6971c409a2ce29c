import ArgumentParser
import Rotation

struct Refresh: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Replace a token that is at its threshold, after verifying it.",
    discussion: """
      Prints a new token with the same type and claims, but an id of its own where there is one, \
      if the token has refresh_before or less to live, and the same token otherwise; the time left \
      goes to standard error. A token that cannot be verified, an expired one too, is never \
      refreshed.
      """)

  @Option(
    help: ArgumentHelp(
      "The threshold, as in systemd.time(7), or as a share of the token's life, such as 20% "
        + "(default: defaults.refresh_before of the configuration, or 1h).",
      valueName: "span"))
  var refreshBefore: String?

  @OptionGroup var lifetimes: LifetimeOptions
  @OptionGroup var token: TokenArgument
  @OptionGroup var key: KeyOptions

  func validate() throws {
    if let refreshBefore, Threshold(refreshBefore) == nil {
      throw ValidationError(
        "--refresh-before must be a time span as in systemd.time(7), such as 1h or 90s, or a share "
          + "of the token's life below 100%, such as 20%.")
    }
  }

  /// The token's `typ`, as far as it is one that jotd writes.
  private func type(of token: [UInt8]) -> String? {
    guard case .string(let type)? = (try? CompactToken(parsing: token))?.header["typ"],
      Identity.fault(inType: type) == nil
    else { return nil }
    return type
  }

  func run() throws {
    let (keys, defaults) = try key.keys()
    let now = Instant.now
    let text: [UInt8]
    let claims: VerifiedClaims
    do throws(VerificationError) {
      text = try token.read()
      claims = try Verifier(keys).verify(text, at: now)
    } catch {
      printNote("not refreshed: \(error.reason.rawValue): \(error.detail)")
      throw ExitCode.badData
    }
    let left = claims.expiresAt.instant - now
    let refreshBefore = refreshBefore.flatMap(Threshold.init) ?? defaults.refreshBefore
    let threshold = refreshBefore.span(of: claims.lifetime)
    let lifetime = lifetimes.value ?? defaults.lifetime
    let next = refreshBefore.span(of: lifetime)
    guard next < lifetime else {
      printNote(
        "the new token would be due at once: the threshold (\(next.timeSpan)) must be below "
          + "the lifetime (\(lifetime.timeSpan)); see --lifetime and --refresh-before")
      throw ExitCode.validationFailure
    }
    guard left <= threshold else {
      printNote("not due: \(left.approximate) left, threshold \(threshold.timeSpan)")
      return printLine(String(decoding: text, as: UTF8.self))
    }
    printNote("refreshed: \(left.approximate) were left, now \(lifetime.timeSpan)")
    // No two tokens have one id (RFC 7519 section 4.1.7).
    let hasID = claims.all.contains { $0.name == "jti" }
    let others = claims.all.filter {
      !TokenTemplate.reserved.contains($0.name) && $0.name != "jti"
    }
    let template = TokenTemplate(
      claims.bearer, type: type(of: text), hasID: hasID, claims: others)
    // It is one of these keys that signed the token, and each of them was read.
    guard let signing = keys[claims.key]?.signing else { throw ExitCode.configuration }
    try printToken(template, lifetime, signing)
  }
}
