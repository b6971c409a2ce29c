import Rotation

/// All that must be right before the daemon starts, or a reload takes effect.
struct LoadedConfiguration: Sendable {
  let settings: Settings
  let loader: SecretLoader
  let signer: HMACSigner
  /// What the secret's source looked like before it was read.
  let fingerprint: FileStatus?
  /// What is worth saying and no reason to refuse, each on a line.
  let warnings: [String]

  /// Reads the configuration at `path` and its secret, and asks `depth` of the host. Nil when
  /// anything is wrong: that is among the errors of `diagnostics` then.
  init?(_ path: String, _ depth: Preflight.Depth, _ diagnostics: Diagnostics) {
    let settings = Configuration.load(path, diagnostics)
    var read: HMACSigner?
    fingerprint = settings.flatMap { SecretLoader(signing: $0.signing).fingerprint }
    if let settings {
      Preflight.inspectPlaces(settings, depth, diagnostics)
      read = Preflight.inspectSecret(settings, diagnostics)
    }
    guard let settings, let read, diagnostics.errors.isEmpty else { return nil }
    self.settings = settings
    loader = SecretLoader(signing: settings.signing)
    signer = read
    warnings = diagnostics.warnings.map(\.description)
  }
}
