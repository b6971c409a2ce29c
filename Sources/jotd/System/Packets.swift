import Glibc
import Rotation

/// Connections of packets (unix(7), SOCK_SEQPACKET): each is read as it was sent.
extension Descriptor {
  /// Both ends of a new connection of packets (socketpair(2)).
  static func packets() throws(Failure) -> Ends {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    try result { unsafe socketpair(AF_UNIX, kind, 0, &ends) }
    return Ends(ours: Descriptor(owning: ends[0]), theirs: Descriptor(owning: ends[1]))
  }

  struct Ends: ~Copyable {
    let ours: Descriptor
    let theirs: Descriptor
  }

  /// The next packet of at most `limit` bytes, cut where it is longer; nil at the end. Throws
  /// EAGAIN when none comes within `time`.
  func packet(upTo limit: Int, within time: Duration? = nil) throws(Failure) -> [UInt8]? {
    if let time {
      var watched = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
      let milliseconds = Int32(clamping: time.microseconds / 1000)
      let count = try result { unsafe poll(&watched, 1, milliseconds) }
      guard count > 0 else { throw Failure(errno: EAGAIN) }
    }
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = try result { unsafe recv(number, &bytes, limit, 0) }
    return count == 0 ? nil : Array(bytes.prefix(count))
  }

  /// Sends `bytes` as one packet.
  func send(packet bytes: [UInt8]) throws(Failure) {
    try result { unsafe Glibc.send(number, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
  }
}
