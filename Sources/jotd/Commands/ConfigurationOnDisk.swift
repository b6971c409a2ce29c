import Rotation

/// Whether the configuration on disk is the one that the daemon runs with. What the caller may not
/// read, or what a disk does not give in time, is not told.
struct ConfigurationOnDisk {
  /// How the files differ from what is in force.
  struct Difference: Sendable {
    let file: String
    let fingerprint: String
    let errors: Int

    /// For people.
    var sentence: String {
      errors > 0
        ? "\(file) has \(counted(errors, "error")) and is not what runs: see \"jotd check\""
        : "\(file) is not what runs, it was changed since: sudo systemctl reload jotd"
    }

    /// For programs.
    var json: JSON {
      .object([
        JSON.Member("file", .string(file)), JSON.Member("fingerprint", .string(fingerprint)),
        JSON.Member("errors", .number(Int64(errors))),
      ])
    }
  }

  private let path: String
  /// The last that was looked at, because to find errors takes a while in a large file.
  private var last: (version: ConfigurationVersion, errors: Int)?

  /// Looks at this configuration.
  init(_ path: String) { self.path = path }

  /// Holds the files against `running`, the member `configuration` of health; nil when they are the
  /// same, are another daemon's, or cannot be told.
  mutating func difference(from running: JSON?) -> Difference? {
    guard let file = running?["file"]?.string,
      let fingerprint = running?["fingerprint"]?.string,
      let version = version(), version.file.utf8.elementsEqual(file.utf8),
      version.fingerprint != fingerprint
    else { return nil }
    if last?.version != version {
      guard let errors = countErrors() else { return nil }
      last = (version, errors)
    }
    return Difference(
      file: path, fingerprint: version.fingerprint, errors: last?.errors ?? 0)
  }

  private func version() -> ConfigurationVersion? {
    let path = path
    return waiting(for: Limits.stallTimeout) {
      (try? ConfigurationVersion.onDisk(path)).flatMap(\.self)
    }.flatMap(\.self)
  }

  private func countErrors() -> Int? {
    let path = path
    return waiting(for: Limits.stallTimeout) {
      let diagnostics = Diagnostics()
      _ = Configuration.load(path, diagnostics)
      return diagnostics.errors.count
    }
  }
}
