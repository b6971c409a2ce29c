import Rotation

/// The names of identities, for shells that complete a command line.
enum IdentityNames {
  /// Those that the daemon has which the words of the command line so far name; none when it does
  /// not say so at once. Never an error, because it would stand in the middle of what somebody
  /// types.
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
