import NIOCore
import NIOHTTP1
import Rotation

/// What the query socket answers: the table of routes, and who may ask what. Tokens, health and
/// metrics are read from the store of statuses; what changes something goes to the main queue.
final class QueryService: HTTPService {
  /// What the service asks of the daemon. All may be called on any thread, and call back on any.
  struct Control: Sendable {
    /// Replaces these identities' tokens, or with `onlyToGain` those that would live longer then;
    /// calls back once each is delivered, and in the store, or has failed.
    let rotate: @Sendable (Set<String>, _ onlyToGain: Bool, @escaping @Sendable () -> Void) -> Void
    /// Reloads the configuration; calls back with what changed, or why it was refused.
    let reload: @Sendable (@escaping @Sendable (Result<Changes, Failure>) -> Void) -> Void
    /// Has a ring of keys do something; calls back when it is done, or with why not.
    let ring:
      @Sendable (_ key: String, KeyRing.Wish, @escaping @Sendable (Failure?) -> Void) -> Void
    let report: @Sendable (Event) -> Void
  }

  let store: StatusStore
  let control: Control
  private let longPolls: LongPolls
  private let denials = DenialLog()
  /// For tokens with too little life left.
  private let renewals: Renewals
  let turns: FairQueue
  let slices = Slices()
  let bodies = Bodies()
  var isEnding: Bool { renewals.isClosed }

  /// `turns` says where answers are made that cost something.
  init(
    _ store: StatusStore, _ longPolls: LongPolls, _ renewals: Renewals, _ turns: FairQueue,
    _ control: Control
  ) {
    self.store = store
    self.longPolls = longPolls
    self.turns = turns
    self.control = control
    self.renewals = renewals
  }

  /// Whether places among the connections are kept for this caller.
  func isOperator(user: UInt32) -> Bool { store.general.access.isOperator(user: user) }

  /// The answer to `request`.
  func answer(
    _ request: Request, _ peer: Peer, _ caller: Caller, on loop: any EventLoop
  ) -> EventLoopFuture<Response> {
    do {
      guard let path = request.path else { throw Problem(.badRequest, "the target is no path") }
      switch path.count {
      case 1 where path[0] == "health":
        try request.demand([.GET, .HEAD])
        return inTurn(caller, .health, on: loop) { self.health() }
      case 1 where path[0] == "metrics":
        try request.demand([.GET, .HEAD])
        return inTurn(caller, .metrics, on: loop) { self.metrics() }
      case 1 where path[0] == "introspect":
        try request.demand([.POST])
        return inTurn(caller, on: loop) {
          do throws(Problem) { return try self.introspect(request) } catch { return error.response }
        }
      case 2 where path == PublicKeyService.path:
        try request.demand([.GET, .HEAD])
        return inTurn(caller, on: loop) { .publicKeys(self.store.general.keys, request) }
      case 2 where path == ["v1", "identities"]:
        try request.demand([.GET, .HEAD])
        return inTurn(caller, on: loop) { self.identities(peer) }
      case 2 where path == ["v1", "reload"]:
        try request.demand([.POST])
        return try reload(peer, on: loop)
      case 2 where path == ["v1", "keys"]:
        try request.demand([.GET, .HEAD])
        return inTurn(caller, on: loop) { self.keys(peer) }
      case 4 where path[0] == "v1" && path[1] == "keys" && path[3] == "add":
        try request.demand([.POST])
        return try change(path[2], .add, peer, on: loop)
      case 5 where path[0] == "v1" && path[1] == "keys":
        try request.demand([.POST])
        return try change(path[2], try wish(path[4], path[3], request), peer, on: loop)
      case 3 where path[0] == "v1" && path[1] == "identities":
        try request.demand([.GET, .HEAD])
        return loop.makeSucceededFuture(try identity(path[2], peer))
      case 4 where path[0] == "v1" && path[1] == "identities" && path[3] == "token":
        try request.demand([.GET, .HEAD])
        return try token(path[2], request, peer, caller, on: loop)
      case 4 where path[0] == "v1" && path[1] == "identities" && path[3] == "rotate":
        try request.demand([.POST])
        return try rotate(path[2], peer, on: loop)
      default:
        throw Problem(
          .notFound,
          "there are /health, /metrics, /introspect, /.well-known/jwks.json, /v1/identities, "
            + "/v1/identities/NAME, /v1/identities/NAME/token, /v1/identities/NAME/rotate, "
            + "/v1/keys, /v1/keys/NAME/add, /v1/keys/NAME/KID/activate, retire and revoke, and "
            + "/v1/reload")
      }
    } catch let problem as Problem {
      return loop.makeSucceededFuture(problem.response)
    } catch {
      return loop.makeSucceededFuture(Problem(.internalServerError, "\(error)").response)
    }
  }

  /// An answer that costs something, made when the caller's turn comes.
  private func inTurn(
    _ caller: Caller, _ shared: FairQueue.Shared? = nil, on loop: any EventLoop,
    _ make: @escaping @Sendable () -> Response
  ) -> EventLoopFuture<Response> {
    turns.take(
      caller, isOperator: isOperator(user: caller.user), shared: shared, on: loop, make: make)
  }

  // MARK: Open to whoever may connect

  private func health() -> Response {
    let health = Health(store, at: .now)
    return .json(
      health.json, type: "application/health+json",
      status: health.status == .fail ? .serviceUnavailable : .ok)
  }

  private func metrics() -> Response {
    Response(
      status: .ok, headers: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")],
      body: ByteBuffer(string: Metrics(store, at: .now).text))
  }

  /// RFC 7662, with `required_role` and `key` beside.
  private func introspect(_ request: Request) throws(Problem) -> Response {
    // White space may stand before the parameters (RFC 9110 section 8.3.1).
    let type = request.headers.first(name: "Content-Type")?.prefix {
      $0 != ";" && $0 != " " && $0 != "\t"
    }
    guard type?.lowercased() == "application/x-www-form-urlencoded" else {
      throw Problem(
        .unsupportedMediaType, "send a form: application/x-www-form-urlencoded",
        [("Accept", "application/x-www-form-urlencoded")])
    }
    guard let fields = Request.form(request.body[...]) else {
      throw Problem(.badRequest, "the form is malformed")
    }
    let tokens = fields.filter { $0.name == "token" }
    let roles = fields.filter { $0.name == "required_role" }
    let names = fields.filter { $0.name == "key" }
    guard tokens.count == 1, roles.count <= 1, names.count <= 1 else {
      throw Problem(
        .badRequest, "the form must have one field token, and required_role and key at most once")
    }
    var required: Role?
    if let name = roles.first?.value {
      guard let role = Role(rawValue: name) else {
        throw Problem(.badRequest, "required_role must be viewer, operator or admin")
      }
      required = role
    }
    let keys = store.general.keys
    let name = names.first?.value
    if let name, keys[name] == nil { throw Problem(.badRequest, "there is no such key") }
    let claims: VerifiedClaims
    do throws(VerificationError) {
      claims = try Verifier(keys, key: name).verify(
        Array(tokens[0].value.utf8), at: .now, requiredRole: required)
    } catch {
      // One that cannot be had now may have signed it.
      if [.signature, .algorithm].contains(error.reason),
        let absent = keys.all.first(where: { $0.absence != nil && name ?? $0.name == $0.name })
      {
        throw Problem(
          .serviceUnavailable, "the key \(absent.name) cannot be had now: ask again",
          [("Retry-After", "\(Limits.firstRetry.components.seconds)")])
      }
      return .json(.object([JSON.Member("active", .bool(false))]))
    }
    var members = [JSON.Member("active", .bool(true))]
    if keys.haveNames { members.append(JSON.Member("key", .string(claims.key))) }
    // A claim of one of these names must not speak for the service.
    let own = Set(members.map(\.name))
    return .json(.object(members + claims.all.filter { !own.contains($0.name) }))
  }

  // MARK: For those who are named

  private func identities(_ peer: Peer) -> Response {
    let access = store.general.access
    let now = Instant.now
    let visible = store.all.filter { access.mayRead($0.identity, peer) }
    return .json(
      .object([JSON.Member("identities", .array(visible.map { $0.description(at: now) }))]))
  }

  private func identity(_ name: String, _ peer: Peer) throws(Problem) -> Response {
    .json(try readable(name, peer).description(at: .now))
  }

  private func token(
    _ name: String, _ request: Request, _ peer: Peer, _ caller: Caller, on loop: any EventLoop
  ) throws(Problem) -> EventLoopFuture<Response> {
    guard try readable(name, peer).isAwaited else {
      return try firstOrNext(name, request, peer, caller, on: loop)
    }
    return firstToken(name, peer, caller, on: loop).flatMap {
      do throws(Problem) {
        return try self.firstOrNext(name, request, peer, caller, on: loop)
      } catch { return loop.makeSucceededFuture(error.response) }
    }
  }

  /// Comes when the identity has a first token, or what kept it from one, or after a while.
  private func firstToken(
    _ name: String, _ peer: Peer, _ caller: Caller, on loop: any EventLoop,
    since began: ContinuousClock.Instant = .now
  ) -> EventLoopFuture<Void> {
    let left = Limits.firstTokenHold - (ContinuousClock.now - began)
    guard left > .zero, !caller.ticket.hasLeft, store[name]?.isAwaited == true,
      let held = longPolls.hold(name, peer.user, for: left, caller.ticket, on: loop)
    else { return loop.makeSucceededVoidFuture() }
    // Between the look at the store and the hold, it may have come.
    if store[name]?.isAwaited != true { longPolls.release(name) }
    // A reload ends all holds, and brings no token.
    return held.end.flatMap { self.firstToken(name, peer, caller, on: loop, since: began) }
  }

  private func firstOrNext(
    _ name: String, _ request: Request, _ peer: Peer, _ caller: Caller, on loop: any EventLoop
  ) throws(Problem) -> EventLoopFuture<Response> {
    let status = try readable(name, peer)
    if let minimum = try span(request, "min_validity") {
      guard minimum < status.identity.lifetime else {
        throw Problem(
          .badRequest,
          "min_validity must be below the lifetime of \(name)'s tokens, "
            + status.identity.lifetime.timeSpan)
      }
      if renewals.isNeeded(status, minimum) {
        return renewals.renew(name, minimum, for: Limits.longestHold, caller.ticket, on: loop)
          .map {
            self.renewals.isClosed ? Problem.stopping.response : self.tokenNow(name, request, peer)
          }
      }
    }
    guard let wait = try span(request, "wait"), isKnown(request, status) else {
      // Cheap enough for the loop, unless others on their way to this user are not read.
      guard turns.hasRoom(peer.user) else {
        return inTurn(caller, on: loop) { self.tokenNow(name, request, peer) }
      }
      return loop.makeSucceededFuture(tokenNow(name, request, peer))
    }
    guard wait <= Limits.longestHold else {
      throw Problem(.badRequest, "wait is at most \(Limits.longestHold.timeSpan)")
    }
    guard let held = longPolls.hold(name, peer.user, for: wait, caller.ticket, on: loop) else {
      throw Problem(
        .tooManyRequests, "user \(peer.user) already holds \(Limits.heldPerUser) requests",
        [("Retry-After", "10")])
    }
    // Between the look at the store and the hold, a token may have come.
    if let status = store[name], !isKnown(request, status) { longPolls.release(name) }
    // A reload ends the hold, and the first token of a changed identity comes later.
    return held.end.flatMap { self.firstToken(name, peer, caller, on: loop) }
      .map { self.tokenNow(name, request, peer) }
  }

  /// The token as it is now, or 304 when the client has it. Who may have it is asked again, because
  /// a reload can have come since the request did.
  private func tokenNow(_ name: String, _ request: Request, _ peer: Peer) -> Response {
    let now = Instant.now
    let status: IdentityStatus
    do { status = try readable(name, peer) } catch { return error.response }
    guard let token = status.token, token.expiresAt > now else {
      return Problem(
        .serviceUnavailable,
        "\(name) has no valid token: \(status.lastError ?? "not yet minted")",
        [("Retry-After", "1")]
      ).response
    }
    let left = max(0, ((status.refreshAt ?? now) - now).components.seconds)
    let representation = Representation(
      accept: request.headers[canonicalForm: "Accept"].map(String.init))
    var response = Response(
      status: .ok,
      headers: [
        ("Content-Type", representation.contentType),
        ("ETag", representation.tag(of: token, of: status.identity)),
        ("Expires", token.expiresAt.httpDate), ("Cache-Control", "private, max-age=\(left)"),
        ("Vary", "Accept"),
      ], body: ByteBuffer(bytes: representation.body(token, of: status.identity)))
    if isKnown(request, status) {
      response.status = .notModified
      response.body = ByteBuffer()
    }
    return response
  }

  private func rotate(
    _ name: String, _ peer: Peer, on loop: any EventLoop
  ) throws(Problem) -> EventLoopFuture<Response> {
    try demandOperator(peer, "rotate \(shown(name, or: "an identity of no valid name"))")
    guard store[name] != nil else { throw unknown(name) }
    let done = loop.makePromise(of: Void.self)
    control.rotate([name], false) { done.succeed() }
    return done.futureResult.map {
      self.store[name].map { .json($0.description(at: .now)) }
        ?? Problem(.notFound, "the identity \(name) was removed").response
    }
  }

  private func reload(
    _ peer: Peer, on loop: any EventLoop
  ) throws(Problem) -> EventLoopFuture<Response> {
    try demandOperator(peer, "reload")
    let done = loop.makePromise(of: Response.self)
    control.reload { result in
      switch result {
      case .success(let changes):
        done.succeed(
          .json(
            .object([
              JSON.Member("unchanged", .number(Int64(changes.kept))),
              JSON.Member("added", .number(Int64(changes.added))),
              JSON.Member("changed", .number(Int64(changes.changed))),
              JSON.Member("removed", .number(Int64(changes.removed))),
            ])))
      case .failure(let refused):
        done.succeed(
          Problem(
            .unprocessableEntity, "the running configuration stays: \(refused.description)"
          ).response)
      }
    }
    return done.futureResult
  }

  // MARK: Rules

  private func readable(_ name: String, _ peer: Peer) throws(Problem) -> IdentityStatus {
    let (status, access) = store.look(name)
    guard access.mayRead(status?.identity, peer) else {
      denials.report(
        peer, unit: peer.unit, "read \(shown(name, or: "an identity of no valid name"))",
        control.report)
      throw Problem(
        .forbidden,
        "\(peer) is not named in allow of that identity. Add the user, a group or the unit there")
    }
    guard let status else { throw unknown(name) }
    return status
  }

  func demandOperator(_ peer: Peer, _ operation: String) throws(Problem) {
    guard !store.general.access.isOperator(peer) else { return }
    denials.report(peer, unit: peer.unit, operation, control.report)
    throw Problem(.forbidden, "\(peer) is no operator. Add the user to socket.operators")
  }

  private func unknown(_ name: String) -> Problem {
    Problem(.notFound, "there is no identity \(shown(name, or: "of that name"))")
  }

  /// A name as it may be repeated: only one that an identity can have, because anything else may be
  /// a token by mistake, or steer a terminal.
  func shown(_ name: String, or other: String) -> String {
    Identity.fault(inName: name) == nil ? name : other
  }

  private func span(_ request: Request, _ name: String) throws(Problem) -> Duration? {
    guard let text = try request.field(name) else { return nil }
    if let span = Duration(timeSpan: text) { return span }
    throw Problem(
      .badRequest, "\(name) must be a time span as in systemd.time(7), such as 30s or 2h")
  }

  /// Whether the client has this token already.
  private func isKnown(_ request: Request, _ status: IdentityStatus) -> Bool {
    guard let token = status.token else { return false }
    return request.knows(
      Representation(accept: request.headers[canonicalForm: "Accept"].map(String.init))
        .tag(of: token, of: status.identity))
  }
}

extension Problem {
  fileprivate static let stopping = Problem(
    .serviceUnavailable, "jotd stops, and replaces no token any more: ask again",
    [("Retry-After", "1")])
}

extension Peer: CustomStringConvertible {
  /// For messages: `uid 999, unit camera-client.service`. By number, because to look a name up can
  /// take a while where users come over a network.
  var description: String { "uid \(user)" + (unit.map { ", unit \($0)" } ?? "") }
}
