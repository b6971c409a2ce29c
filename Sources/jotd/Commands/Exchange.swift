import CLinux
import Glibc
import Rotation

/// One connection to the daemon's query socket, on which everything together has one deadline: a
/// daemon that trickles keeps nobody.
struct Exchange: ~Copyable {
  private let socket: Descriptor
  private let end: Int64

  /// Connects; throws what connect(2) fails with, EAGAIN when nobody accepts within `limit`.
  init(_ path: Path, within limit: Duration) throws(Failure) {
    end = linux_clock(CLOCK_MONOTONIC) + limit.microseconds * 1000
    socket = try Descriptor.connect(path.description, limit: limit)
  }

  /// Sends a request. A daemon that has closed already may have said why before: no error then.
  func send(_ request: String) throws(Failure) {
    do { try socket.write(Array(request.utf8)) } catch {
      guard error.code == EPIPE else { throw error }
    }
  }

  /// What comes until the daemon closes; EFBIG for more than `limit` bytes, EAGAIN when the time is
  /// over.
  func receive(upTo limit: Int) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let left = (end - linux_clock(CLOCK_MONOTONIC)) / 1_000_000
      var readable = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
      let count = try result { unsafe poll(&readable, 1, Int32(clamping: max(0, left))) }
      guard count > 0 else { throw Failure(errno: EAGAIN) }
      let length = try result { unsafe read(socket.number, &piece, piece.count) }
      if length == 0 { return bytes }
      bytes += piece[..<length]
      guard bytes.count <= limit else { throw Failure(errno: EFBIG) }
    }
  }
}
