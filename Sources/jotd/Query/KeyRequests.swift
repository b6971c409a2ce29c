import NIOCore
import NIOHTTP1
import Rotation

/// What is asked of the keys that jotd makes itself.
extension QueryService {
  /// All of them, for operators.
  func keys(_ peer: Peer) -> Response {
    do throws(Problem) { try demandOperator(peer, "list the keys") } catch { return error.response }
    return .json(
      .object([JSON.Member("keys", .array(store.general.rings.map(\.description)))]))
  }

  /// What an operator wants of the member that `kid` names, by the verb of a path.
  func wish(
    _ verb: String, _ kid: String, _ request: Request
  ) throws(Problem) -> KeyRing.Wish {
    if let fault = KeyLabel.fault(inKid: kid) { throw Problem(.badRequest, fault) }
    switch verb {
    case "activate":
      let now = try request.field("now")
      guard let atOnce = now == nil ? false : Bool(now ?? "") else {
        throw Problem(.badRequest, "now must be true or false")
      }
      return .activate(kid, atOnce: atOnce)
    case "retire": return .retire(kid)
    case "revoke": return .revoke(kid)
    default: throw Problem(.notFound, "a key can be made to activate, retire and revoke")
    }
  }

  /// Answers with the ring as it is once the wish is granted.
  func change(
    _ name: String, _ wish: KeyRing.Wish, _ peer: Peer, on loop: any EventLoop
  ) throws(Problem) -> EventLoopFuture<Response> {
    try demandOperator(peer, "change the key \(shown(name, or: "of no valid name"))")
    guard store.general.rings.contains(where: { $0.key == name }) else {
      throw Problem(
        .notFound, "there is no key \(shown(name, or: "of that name")) that jotd makes (generate)")
    }
    let done = loop.makePromise(of: Response.self)
    control.ring(name, wish) { fault in
      if let fault {
        return done.succeed(Problem(.conflict, fault.description).response)
      }
      let ring = self.store.general.rings.first { $0.key == name }
      done.succeed(.json(ring?.description ?? .null))
    }
    return done.futureResult
  }
}
