import Rotation

/// What systemctl(1) says of units. It waits for the service manager, for a bounded time: not for
/// the main queue of the daemon.
enum SystemdQuery {
  /// Whether this host is run by systemd (sd_booted(3)).
  static var isThere: Bool { (try? FileSystem.status(of: "/run/systemd/system")) != nil }

  static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]

  /// These properties of units that systemd knows, for each unit, or of all that match a pattern;
  /// nil when it cannot be asked.
  static func properties(_ names: [String], of units: [String]) -> [[String: String]]? {
    var found: [[String: String]] = []
    // As many as fit a command's arguments.
    for start in stride(from: 0, to: units.count, by: 200) {
      let some = units[start..<min(units.count, start + 200)]
      guard let text = ask(["show", "-p", names.joined(separator: ","), "--"] + some) else {
        return nil
      }
      found += text.split(separator: "\n\n").map { block in
        let pairs = block.split(separator: "\n").compactMap { line -> (String, String)? in
          guard let sign = line.firstIndex(of: "=") else { return nil }
          return (String(line[..<sign]), String(line[line.index(after: sign)...]))
        }
        return Dictionary(pairs) { first, _ in first }
      }
    }
    return found
  }

  /// What systemctl prints with these arguments; nil when it fails, or takes too long.
  static func ask(_ arguments: [String]) -> String? {
    let answer = try? ProcessRunner().run(
      ["/usr/bin/systemctl"] + arguments, environment: environment, input: [],
      limit: Limits.systemdTime, room: Limits.systemdBytes)
    guard case (.exit(0), let output)? = answer else { return nil }
    return String(decoding: output, as: UTF8.self)
  }
}
