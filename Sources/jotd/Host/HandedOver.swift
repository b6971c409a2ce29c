import CLinux
import CSystemd
import Glibc
import Rotation
import Synchronization

/// The listening sockets that systemd handed over (sd_listen_fds_with_names(3)): each is used once,
/// by the name of its FileDescriptorName= or by its path.
enum HandedOver {
  private struct Socket {
    let number: Int32
    let name: String
    let path: String
  }

  private static let sockets = Mutex<[Socket]?>(nil)

  /// The socket of that name, or at that path; nil when there is none left.
  static func take(_ name: String?, _ path: Path) -> Int32? {
    sockets.withLock { known in
      var all = known ?? received()
      defer { known = all }
      guard
        let index = all.firstIndex(where: {
          $0.name == name || $0.path.utf8.elementsEqual(path.description.utf8)
        })
      else { return nil }
      return all.remove(at: index).number
    }
  }

  private static func received() -> [Socket] {
    var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
    let count = unsafe sd_listen_fds_with_names(1, &names)
    guard count > 0, let names = unsafe names else { return [] }
    defer { unsafe free(names) }
    return (0..<Int(count)).map { index in
      let number = Int32(index) + 3
      let text = unsafe names[index]
      defer { unsafe free(text) }
      var path = [CChar](repeating: 0, count: 128)
      let length = unsafe linux_own_address(number, &path, Int32(path.count))
      return Socket(
        number: number, name: unsafe text.map { unsafe String(cString: $0) } ?? "",
        path: String(
          decoding: path.prefix(Int(max(0, length))).lazy.map { UInt8(bitPattern: $0) },
          as: UTF8.self))
    }
  }
}
