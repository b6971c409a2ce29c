import NIOCore
import Rotation

/// The sockets for public keys, which systemd hands over under the name `jwks`: jotd itself makes
/// none, because verifiers that speak HTTP over TCP alone are all that they are for.
final class PublicKeySocket: Sendable {
  private let acceptors: [Acceptor]

  /// Serves `service` on all that were handed over. Callers can connect, and wait until `begin`.
  /// Must not be called on the event loop.
  init(_ service: PublicKeyService, _ connections: Connections) throws(Failure) {
    var acceptors: [Acceptor] = []
    for number in try SocketActivation.takePublicKeySockets() {
      do {
        acceptors.append(
          try Acceptor(Descriptor(owning: number)) { channel, user in
            // Nobody knows who is at the other end of TCP: all callers share one budget.
            let user = user ?? .max
            guard let number = connections.admit(channel, user, isOperator: false) else {
              throw Failure("there is no room for another connection")
            }
            let caller = Caller(user, number)
            try HTTPConnection.add(to: channel, service, caller, connections) { request in
              service.answer(request, caller, on: channel.eventLoop)
            }
          })
      } catch { throw Failure("a socket for public keys cannot be served: \(error)") }
    }
    self.acceptors = acceptors
  }

  /// Takes in those who wait, and whoever comes from now on.
  func begin() { for acceptor in acceptors { acceptor.begin() } }

  /// Ends it. The sockets are systemd's: whoever comes waits for the next jotd.
  func close() { for acceptor in acceptors { acceptor.close() } }
}
