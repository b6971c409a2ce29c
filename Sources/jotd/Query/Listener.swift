import CLinux
import Glibc
import NIOCore
import NIOPosix
import Rotation

/// A listening Unix socket at a path: bound where nobody answers, with its group and mode before
/// it listens, gone with its listener.
final class Listener: Sendable {
  let path: Path
  private let channel: any Channel
  private let folder: Folder
  /// The socket's inode when it was made.
  private let made: FileStatus?

  /// Everything that is served runs on this one thread, which sleeps when there is nothing to do.
  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  /// Uses the socket that systemd handed over for `path` or under `handedOver`, and makes one at
  /// `path` otherwise. Callers can connect from then on, and wait until `begin`. Must not be called
  /// on the event loop. `accept` gets each new connection, on the event loop, with its peer; it
  /// adds handlers, or throws to have it closed.
  init(
    _ path: Path, owner: UInt32?, group: UInt32?, mode: UInt16, handedOver name: String? = nil,
    accept: @escaping @Sendable (any Channel, Peer) throws -> Void
  ) throws(Failure) {
    self.path = path
    folder = try Folder(path.folder)
    let socket: Int32
    if let given = HandedOver.take(name, path) {
      // Its path is systemd's to make and to remove.
      socket = given
      made = nil
    } else {
      socket = try Listener.bind(path, folder, owner, group, mode)
      made = try? folder.descriptor.status(of: path.name)
    }
    let bootstrap = ServerBootstrap(group: Listener.group)
      .serverChannelOption(.autoRead, value: false)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let peer = try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
          ) { try Peer(of: $0) }
          guard let peer else { throw SystemError(code: ENOTSOCK) }
          try accept(channel, peer)
        }
      }
    do {
      channel = try bootstrap.withBoundSocket(socket).wait()
      // A crowd that comes at once is to wait in line; SwiftNIO listens with room for 128. The
      // kernel takes the longest line it has (listen(2), somaxconn).
      listen(socket, .max)
    } catch {
      if made != nil { try? folder.descriptor.remove(path.name) }
      throw Failure("\(path): the socket cannot be served: \(error)")
    }
  }

  /// Whether systemd made the socket: then path, group and mode are its to choose.
  var isHandedOver: Bool { made == nil }

  /// Whether the socket at the path is still this one; one that was handed over always is.
  var isInPlace: Bool {
    guard let made else { return true }
    guard let found = try? FileSystem.status(of: path.description) else { return false }
    return found.inode == made.inode && found.device == made.device
  }

  /// Takes in those who wait, and whoever comes from now on.
  func begin() { channel.setOption(.autoRead, value: true).whenComplete { _ in } }

  /// Ends the listener, and removes its socket if that is still its own.
  func close() {
    if made != nil, isInPlace { try? folder.descriptor.remove(path.name) }
    channel.close(promise: nil)
  }

  private static func bind(
    _ path: Path, _ folder: Folder, _ owner: UInt32?, _ group: UInt32?, _ mode: UInt16
  ) throws(Failure) -> Int32 {
    try clear(path, folder)
    do throws(SystemError) {
      let socket = Descriptor(
        owning: try result { unsafe linux_bind(path.description) })
      do throws(SystemError) {
        try folder.descriptor.changeMode(of: path.name, mode)
        if owner != nil || group != nil {
          try folder.descriptor.changeOwner(of: path.name, owner, group)
        }
      } catch {
        try? folder.descriptor.remove(path.name)
        throw error
      }
      return socket.release()
    } catch {
      throw Failure("\(path): the socket cannot be made: \(error.reason)", code: error.code)
    }
  }

  /// Removes a socket that nobody serves; throws when somebody does, or when it is no socket.
  private static func clear(_ path: Path, _ folder: Folder) throws(Failure) {
    guard let status = try? folder.descriptor.status(of: path.name) else { return }
    guard status.kind == .socket else {
      throw Failure("\(path): there is something other than a socket: remove it")
    }
    guard unsafe linux_is_answered(path.description) == 0 else {
      throw Failure(
        "\(path): somebody answers there: another jotd runs with this configuration",
        code: EADDRINUSE)
    }
    do { try folder.descriptor.remove(path.name) } catch {
      throw Failure("\(path): the old socket cannot be removed: \(error.reason)", code: error.code)
    }
  }
}
