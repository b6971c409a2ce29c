import ArgumentParser
import Rotation

struct Decode: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a token says, without verifying it.",
    discussion: "Needs no secret, and believes nothing: anybody can write such a token.")

  @OptionGroup var config: ConfigurationOption
  @OptionGroup var token: TokenArgument

  func run() throws {
    Hardening.apply()
    do throws(VerificationError) {
      let text = try token.read()
      let decoded = try CompactToken(parsing: text)
      printLine("header")
      show(decoded.header)
      printLine("claims")
      show(decoded.claims)
      printLine("Nothing was verified: use \"jotd verify\" before you believe any of this.")
    } catch {
      printNote("\(error.reason.rawValue): \(error.detail)")
      throw ExitCode.badData
    }
  }

  private func show(_ object: JSON) {
    guard case .object(let members) = object else { return }
    for member in members {
      // By bytes: with a combining mark behind it, a quotation mark is another character.
      let name = String(
        decoding: JSON.string(member.name).text.utf8.dropFirst().dropLast(), as: UTF8.self)
      let words = inWords(member).map { "  (\($0))" } ?? ""
      printLine("  \(name): \(member.value.text)\(words)")
    }
  }

  /// What a time claim means now; nil for other claims.
  private func inWords(_ member: JSON.Member) -> String? {
    guard ["iat", "nbf", "exp", "auth_time"].contains(member.name),
      let date = NumericDate(member.value)
    else { return nil }
    guard date.isInCalendar else { return date.when }
    let now = Instant.now
    let distance =
      date.instant <= now
      ? "\((now - date.instant).approximate) ago" : "in \((date.instant - now).approximate)"
    return "\(date.instant.rfc3339), \(distance)"
  }
}
