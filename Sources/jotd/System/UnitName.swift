/// The names of systemd's units (systemd.unit(5)).
enum UnitName {
  private static let permitted = Set(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@".utf8)

  /// The bytes as a name; nil for what no unit is called. Units have names of ASCII, so names that
  /// are equal as strings are the same bytes.
  static func read(_ bytes: some Collection<UInt8>) -> String? {
    guard !bytes.isEmpty, bytes.allSatisfy(permitted.contains) else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Whether a unit of this name is of a type that has processes.
  static func hasProcesses(_ name: String) -> Bool {
    [".service", ".scope"].contains { name.utf8.ends(with: $0) && name.utf8.count > $0.utf8.count }
  }
}
