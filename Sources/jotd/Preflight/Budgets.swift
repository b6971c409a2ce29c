import Rotation

/// Holds what the deliveries will have against what their clients take (`max_bytes`).
extension Preflight {
  /// Finds the files whose tokens would be too long for them: a fault of the configuration, but for
  /// a start, where it stops nobody but that delivery. `keys` are those that could be read.
  static func inspectBudgets(
    _ settings: Settings, _ keys: [Key], _ depth: Depth, _ diagnostics: Diagnostics
  ) {
    guard !settings.budgetLocations.isEmpty else { return }
    for identity in settings.identities {
      for case .file(let file) in identity.deliveries {
        guard let budget = file.maxBytes, let location = settings.budgetLocations[file.path],
          let key = settings.keys.first(where: { $0.settings.label.name == identity.key })
        else { continue }
        let label = key.settings.label
        let known = keys.first { $0.name == identity.key }?.signing
        let count =
          known.map { identity.bytes(of: file, signedBy: $0) }
          ?? identity.bytes(of: file, signedBy: label)
        guard count > budget else { continue }
        // A private key may have a name of its own, and of RSA any length.
        let isCertain =
          known != nil || label.algorithm.takesSecret || key.settings.generated != nil
        let text =
          "\(file.path) would have \(isCertain ? "" : "about ")\(count) bytes with a token of "
          + "\(identity.name), and max_bytes is \(budget): leave claims out, or shorten the "
          + "template"
        if depth == .start || !isCertain {
          diagnostics.warn(location, text)
        } else {
          diagnostics.error(location, text)
        }
      }
    }
  }
}
