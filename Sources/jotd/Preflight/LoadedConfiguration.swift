import Rotation

/// All that must be right before the daemon starts, or a reload takes effect.
struct LoadedConfiguration: Sendable {
  let settings: Settings
  let keys: Keys
  /// Those of them that are rings, but for rings that are in use already.
  let rings: [LoadedRing]
  /// What is to be watched of each key: where its secret is, and what that looked like before it
  /// was read.
  let secrets: [(loader: SecretLoader, fingerprint: FileStatus?)]
  /// What is worth saying and no reason to refuse, each on a line.
  let warnings: [String]

  /// Reads the configuration at `path` and its secrets, and asks `depth` of the host. `inUse` are
  /// the rings of keys that run already; nil where nothing may be changed. Nil when anything is
  /// wrong, which is among the errors of `diagnostics` then; and where a ring has yet to be made
  /// that may not be.
  init?(
    _ path: String, _ depth: Preflight.Depth, inUse: RingsInUse?, _ diagnostics: Diagnostics
  ) {
    let settings = Configuration.load(path, diagnostics)
    var read: (keys: Keys, rings: [LoadedRing])?
    secrets = (settings?.keys ?? []).filter { $0.settings.secret != nil }.map { key in
      let loader = SecretLoader(key: key.settings)
      return (loader, loader.fingerprint)
    }
    if let settings {
      Preflight.inspectPlaces(settings, depth, diagnostics)
      read = Preflight.inspectKeys(settings, depth, inUse: inUse, diagnostics)
    }
    guard let settings, let read, diagnostics.errors.isEmpty else { return nil }
    self.settings = settings
    (keys, rings) = read
    warnings = diagnostics.warnings.map(\.description)
  }
}
