import NIOCore
import NIOHTTP1
import Rotation
import Synchronization

/// What the socket for public keys answers: the JWK Set, to whoever may connect, and nothing else.
final class PublicKeyService: HTTPService {
  static let path = [".well-known", "jwks.json"]

  let turns: FairQueue
  let slices = Slices()
  let bodies = Bodies()
  private let store: StatusStore
  private let ends = Atomic(false)

  /// `turns` says where answers are made.
  init(_ store: StatusStore, _ turns: FairQueue) {
    self.store = store
    self.turns = turns
  }

  var isEnding: Bool { ends.load(ordering: .relaxed) }

  /// From now on, each answer is the last on its connection.
  func end() { ends.store(true, ordering: .relaxed) }

  /// The answer to `request`.
  func answer(
    _ request: Request, _ caller: Caller, on loop: any EventLoop
  ) -> EventLoopFuture<Response> {
    do throws(Problem) {
      guard request.path == PublicKeyService.path else {
        throw Problem(.notFound, "there is /.well-known/jwks.json, and nothing else")
      }
      try request.demand([.GET, .HEAD])
    } catch { return loop.makeSucceededFuture(error.response) }
    return turns.take(caller, isOperator: false, on: loop) { [store] in
      .publicKeys(store.general.keys, request)
    }
  }
}

extension Response {
  /// The JWK Set (RFC 7517 section 5) of these keys, for whoever verifies their tokens; 304 where
  /// the client has it.
  static func publicKeys(_ keys: Keys, _ request: Request) -> Response {
    let text = keys.jwks(at: .now).text + "\n"
    let tag = "\"\(String(text.fnv1a, radix: 16))\""
    var response = Response(
      status: .ok,
      headers: [
        ("Content-Type", "application/jwk-set+json"), ("ETag", tag),
        // Where a key cannot be had, tokens of it may be about all the same.
        (
          "Cache-Control",
          keys.all.contains { $0.absence != nil }
            ? "no-store" : "public, max-age=\(Limits.publicKeysAge.components.seconds)"
        ),
      ], body: ByteBuffer(string: text))
    if request.knows(tag) {
      response.status = .notModified
      response.body = ByteBuffer()
    }
    return response
  }
}
