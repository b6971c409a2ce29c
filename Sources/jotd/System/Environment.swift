import Glibc

/// The environment that jotd was started with.
enum Environment {
  /// The value of a variable; nil when it is not set or empty.
  static subscript(name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
  }

  /// All of it for a process of jotd's own, but what systemd says to jotd alone (sd_notify(3),
  /// sd_listen_fds(3)).
  static var forHelpers: [String] {
    var found: [String] = []
    var place = unsafe environ
    while let text = unsafe place.pointee {
      let variable = unsafe String(cString: text)
      if !["NOTIFY_SOCKET=", "LISTEN_", "WATCHDOG_"].contains(where: variable.hasPrefix) {
        found.append(variable)
      }
      unsafe place += 1
    }
    return found
  }
}
