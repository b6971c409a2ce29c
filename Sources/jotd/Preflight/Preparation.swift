import Rotation

/// All that must be right before the daemon starts, or a reload takes effect.
struct Preparation: Sendable {
  let settings: Settings
  let reader: SecretReader
  let signer: HMACSigner
  /// What the secret's source looked like before it was read.
  let fingerprint: FileStatus?
  /// What is worth saying and no reason to refuse, each on a line.
  let warnings: [String]

  /// What is wrong with a configuration.
  struct Refused: Error, CustomStringConvertible {
    /// In the order of the files.
    let errors: [Finding]

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
  init(_ path: String, _ depth: HostInspection.Depth) throws(Refused) {
    let findings = Findings()
    let settings = Configuration.load(path, findings)
    var read: HMACSigner?
    fingerprint = settings.flatMap { SecretReader(signing: $0.signing).fingerprint }
    if let settings {
      HostInspection.inspectPlaces(settings, depth, findings)
      read = HostInspection.inspectSecret(settings, findings)
    }
    guard let settings, let read, findings.errors.isEmpty else {
      throw Refused(errors: findings.errors)
    }
    self.settings = settings
    reader = SecretReader(signing: settings.signing)
    signer = read
    warnings = findings.warnings.map(\.description)
  }
}
