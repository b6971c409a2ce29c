import Rotation

/// This boot of the machine.
enum Boot {
  private static let file = "/proc/sys/kernel/random/boot_id"

  /// What tells it from all others (random(4)), as systemd writes it: 32 hexadecimal digits. The
  /// service does not see the kernel's file, and is told by its unit. Empty when nobody says.
  static var id: String {
    let text =
      Environment["JOTD_BOOT_ID"].map { Array($0.utf8) }
      ?? (try? FileSystem.contents(of: file, upTo: 64)) ?? []
    let digits = text.filter { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    return String(decoding: digits.prefix(32), as: UTF8.self)
  }
}
