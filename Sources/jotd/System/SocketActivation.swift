import CLinux
import CSystemd
import Glibc
import Rotation
import Synchronization

/// The listening sockets that systemd handed over (sd_listen_fds_with_names(3)): each is used by
/// one listener at a time, by its path or by the name of its FileDescriptorName=.
enum SocketActivation {
  private struct Socket {
    let number: Int32
    let name: String
    let path: String
    /// A stream socket that listens, and is a Unix socket unless it is for public keys: whatever
    /// else was handed over is not used.
    let isUsable: Bool
    var isUsed = false

    var isFree: Bool { isUsable && !isUsed }
    /// Whether it is for public keys, and then for nothing else.
    var isForPublicKeys: Bool { name == SocketActivation.publicKeys }

    func isCalled(_ name: String) -> Bool { !isForPublicKeys && self.name == name }

    func isFor(_ path: Path) -> Bool {
      !isForPublicKeys && self.path.utf8.elementsEqual(path.description.utf8)
    }
  }

  /// The name of those for public keys.
  private static let publicKeys = "jwks"

  private static let sockets = Mutex<[Socket]?>(nil)

  /// Whether there is a socket of that name, or at that path.
  static func has(_ name: String, _ path: Path) -> Bool {
    withSockets { all in all.contains { $0.isUsable && ($0.isFor(path) || $0.isCalled(name)) } }
  }

  /// What there is to say of what was handed over and cannot be used.
  static var warnings: [String] {
    withSockets { all in
      all.filter { !$0.isUsable }.map {
        "systemd handed over \(redacted($0.name, upTo: 64)), which is no Unix stream socket that "
          + "listens: it is not used (ListenStream= with a path makes one; only \(publicKeys) may "
          + "have an address)"
      }
    }
  }

  /// A descriptor of the unused socket at that path, or else of that name, which the caller closes;
  /// `giveBack` ends its use. Nil when there is none.
  static func take(_ name: String, _ path: Path) -> Int32? {
    withSockets { all in
      guard
        let index = all.firstIndex(where: { $0.isFree && $0.isFor(path) })
          ?? all.firstIndex(where: { $0.isFree && $0.isCalled(name) })
      else { return nil }
      let number = fcntl(all[index].number, F_DUPFD_CLOEXEC, 0)
      guard number >= 0 else { return nil }
      all[index].isUsed = true
      return number
    }
  }

  /// Descriptors of all sockets for public keys, each of which the caller closes.
  static func takePublicKeySockets() throws(Failure) -> [Int32] {
    let found = withSockets { all in
      all.indices.filter { all[$0].isFree && all[$0].isForPublicKeys }.map { index in
        all[index].isUsed = true
        return all[index].number
      }
    }
    var taken: [Int32] = []
    for number in found { taken.append(try result { fcntl(number, F_DUPFD_CLOEXEC, 0) }) }
    return taken
  }

  /// Ends the use of the socket that `take` gave for these.
  static func giveBack(_ name: String, _ path: Path) {
    withSockets { all in
      let index =
        all.firstIndex { $0.isUsed && $0.isFor(path) }
        ?? all.firstIndex { $0.isUsed && $0.isCalled(name) }
      if let index { all[index].isUsed = false }
    }
  }

  private static func withSockets<Value>(_ use: (inout [Socket]) -> Value) -> Value {
    sockets.withLock { known in
      var all = known ?? received()
      defer { known = all }
      return use(&all)
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
      let name = unsafe text.map { unsafe String(cString: $0) } ?? ""
      return Socket(
        number: number, name: name,
        path: String(
          decoding: path.prefix(Int(max(0, length))).lazy.map { UInt8(bitPattern: $0) },
          as: UTF8.self),
        isUsable: linux_is_listening(number, name == publicKeys ? 1 : 0) == 1)
    }
  }
}
