import Rotation

/// The names of identities, for shells that complete a command line.
enum IdentityNames {
  /// The identities of the daemon that --socket or --config in `words` names, or of the standard
  /// one; none when it does not answer soon. Never an error, which would appear in the middle of
  /// what somebody types.
  @Sendable static func complete(_ words: [String], _: Int, _: String) -> [String] {
    let socket = DaemonSocket(
      value(of: "--socket", words), value(of: "--config", words) ?? Configuration.standardPath)
    let answer = try? QueryClient(socket).ask("GET", "/health", limit: Limits.completionTime)
    let names = (answer?.json?["identities"]?.members ?? []).map(\.name)
    return names.filter { Identity.fault(inName: $0) == nil }
  }

  private static func value(of option: String, _ words: [String]) -> String? {
    if let index = words.lastIndex(of: option), words.indices.contains(index + 1) {
      return words[index + 1]
    }
    return words.last { $0.hasPrefix(option + "=") }.map { String($0.dropFirst(option.count + 1)) }
  }
}
