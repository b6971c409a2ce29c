import Rotation

/// All that must be right before the daemon starts, or a reload takes effect.
struct LoadedConfiguration: Sendable {
  let settings: Settings
  let keys: Keys
  /// What is to be watched of each key: where its secret is, and what that looked like before it
  /// was read.
  let secrets: [(loader: SecretLoader, fingerprint: FileStatus?)]
  /// What is worth saying and no reason to refuse, each on a line.
  let warnings: [String]

  /// Reads the configuration at `path` and its secrets, and asks `depth` of the host. Nil when
  /// anything is wrong: that is among the errors of `diagnostics` then.
  init?(_ path: String, _ depth: Preflight.Depth, _ diagnostics: Diagnostics) {
    let settings = Configuration.load(path, diagnostics)
    var read: Keys?
    secrets = (settings?.keys ?? []).map { key in
      let loader = SecretLoader(key: key.settings)
      return (loader, loader.fingerprint)
    }
    if let settings {
      Preflight.inspectPlaces(settings, depth, diagnostics)
      read = Preflight.inspectSecrets(settings, depth, diagnostics)
    }
    guard let settings, let read, diagnostics.errors.isEmpty else { return nil }
    self.settings = settings
    keys = read
    warnings = diagnostics.warnings.map(\.description)
  }
}
