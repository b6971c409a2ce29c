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

  /// What is wrong with a configuration.
  struct Refused: Error, CustomStringConvertible {
    /// In the order of the files.
    let errors: [Diagnostic]

    /// Whether it is the host's trouble alone, so that another try may go well.
    var mayPass: Bool { errors.allSatisfy(\.mayPass) }

    /// One error a line.
    var description: String {
      let shown = errors.sorted().prefix(Limits.errorsShown).map(\.description)
      let more = errors.count - shown.count
      return (shown + (more > 0 ? ["and \(more) more"] : [])).joined(separator: "\n")
    }
  }

  /// Reads the configuration at `path` and its secret, and asks `depth` of the host.
  init(_ path: String, _ depth: Preflight.Depth) throws(Refused) {
    let diagnostics = Diagnostics()
    let settings = Configuration.load(path, diagnostics)
    var read: HMACSigner?
    fingerprint = settings.flatMap { SecretLoader(signing: $0.signing).fingerprint }
    if let settings {
      Preflight.inspectPlaces(settings, depth, diagnostics)
      read = Preflight.inspectSecret(settings, diagnostics)
    }
    guard let settings, let read, diagnostics.errors.isEmpty else {
      throw Refused(errors: diagnostics.errors)
    }
    self.settings = settings
    loader = SecretLoader(signing: settings.signing)
    signer = read
    warnings = diagnostics.warnings.map(\.description)
  }
}
