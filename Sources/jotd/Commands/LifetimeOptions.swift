import ArgumentParser
import Rotation

/// How long a new token is to live: for mint and refresh.
struct LifetimeOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How long the token lives, as in systemd.time(7): 24h, 30min (default: defaults.lifetime of "
        + "the configuration, or 24h).",
      valueName: "span"))
  var lifetime: String?

  @Option(help: ArgumentHelp("The same as whole hours.", valueName: "n"))
  var expiryHours: Int?

  func validate() throws {
    guard lifetime == nil || expiryHours == nil else {
      throw ValidationError("--lifetime and --expiry-hours exclude each other.")
    }
    if let expiryHours, !(1...87_660).contains(expiryHours) {
      throw ValidationError("--expiry-hours must be from 1 to 87660 (10 years).")
    }
    if let lifetime {
      guard let value = Duration(timeSpan: lifetime) else {
        throw ValidationError(
          "--lifetime must be a time span as in systemd.time(7), such as 24h or 1h 30min.")
      }
      if let fault = Identity.fault(inLifetime: value) { throw ValidationError("--\(fault).") }
    }
  }

  /// What was asked for; nil when nothing was.
  var value: Duration? {
    lifetime.flatMap(Duration.init(timeSpan:)) ?? expiryHours.map { .seconds($0 * 3600) }
  }
}
