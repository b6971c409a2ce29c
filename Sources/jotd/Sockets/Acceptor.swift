import Glibc
import NIOCore
import NIOPosix
import Rotation
import Synchronization

/// A listening socket whose callers are taken in until it is closed. SwiftNIO ends a listener for
/// good when accept(2) fails in a way that it does not know, such as when a security module forbids
/// it. So this keeps a descriptor of the socket, and gives SwiftNIO copies: one after the other.
final class Acceptor: Sendable {
  private struct State: ~Copyable {
    /// Nil once this is closed.
    var socket: Descriptor?
    var channel: (any Channel)?
  }

  private let state: Mutex<State>
  private let accept: @Sendable (any Channel, UInt32?) throws -> Void

  /// The one event loop of all sockets; its thread sleeps when there is nothing to do. Answers that
  /// cost something are made on other threads (`FairQueue`).
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  static var loop: any EventLoop { group.next() }

  /// Takes over a bound socket, also when this throws. Callers can connect from then on, and wait
  /// until `begin`. Must not be called on the event loop. `accept` gets each new connection, on the
  /// event loop, with its peer's user, nil when the kernel does not tell; it adds handlers, or
  /// throws to have it closed.
  init(
    _ socket: consuming Descriptor,
    accept: @escaping @Sendable (any Channel, UInt32?) throws -> Void
  ) throws {
    state = Mutex(State(socket: socket))
    self.accept = accept
    try serve(reads: false).wait()
  }

  /// Takes in those who wait, and whoever comes from now on.
  func begin() {
    state.withLock { $0.channel }?.setOption(.autoRead, value: true).whenComplete { _ in }
  }

  /// Ends it: nobody can connect any more, unless somebody else has the socket, too.
  func close() {
    let channel = state.withLock { state in
      state.socket = nil
      return state.channel
    }
    channel?.close(promise: nil)
  }

  private func serve(reads: Bool) -> EventLoopFuture<Void> {
    Acceptor.group.next().makeCompletedFuture { try self.copy() }
      .flatMap { self.bootstrap(reads: reads).withBoundSocket($0) }
      .map { self.keep($0) }
  }

  private func copy() throws(Failure) -> Int32 {
    try state.withLock { state throws(Failure) in
      let number = state.socket?.number ?? -1
      return try result { fcntl(number, F_DUPFD_CLOEXEC, 0) }
    }
  }

  private func keep(_ channel: any Channel) {
    let isClosed = state.withLock { state in
      state.channel = channel
      guard let number = state.socket?.number else { return true }
      // A crowd that comes at once is to wait in line; SwiftNIO listens with room for 128. The
      // kernel takes the longest line it has (listen(2), somaxconn).
      listen(number, .max)
      return false
    }
    channel.closeFuture.whenComplete { _ in self.serveAgain(channel.eventLoop) }
    if isClosed { channel.close(promise: nil) }
  }

  /// Only a listener that had begun ends by itself.
  private func serveAgain(_ loop: any EventLoop) {
    guard state.withLock({ $0.socket?.number }) != nil else { return }
    loop.scheduleTask(in: .microseconds(Limits.acceptPause.microseconds)) {
      self.serve(reads: true).whenFailure { _ in self.serveAgain(loop) }
    }
  }

  private func bootstrap(reads: Bool) -> ServerBootstrap {
    let accept = accept
    return ServerBootstrap(group: Acceptor.group)
      .serverChannelOption(.autoRead, value: reads)
      .serverChannelOption(.maxMessagesPerRead, value: Limits.acceptedAtOnce)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          // Where there is no descriptor or no memory, it waits, and neither spins nor ends.
          let pause = TimeAmount.microseconds(Limits.acceptPause.microseconds)
          try channel.pipeline.syncOperations.addHandler(
            AcceptBackoffHandler(shouldForwardIOErrorCaught: false) { _ in pause })
        }
      }
      .childChannelOption(.socketOption(.so_sndbuf), value: Limits.sendBufferBytes)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelOption(
        .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Limits.receivedBytes)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let user = try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
          ) { Peer.user(of: $0) }
          try accept(channel, user ?? nil)
        }
      }
  }
}
