import NIOCore
import NIOEmbedded

@testable import Rotation
@testable import jotd

/// Bytes on the query socket, from somebody who may read one of two tokens: what comes back is
/// HTTP, and never has the other token.
@Sendable func readRequests(_ bytes: [UInt8]) {
  let loop = EmbeddedEventLoop()
  let channel = EmbeddedChannel(loop: loop)
  let peer = Peer(pid: 1, user: 65_534, groups: [65_534], unit: "client.service")
  let longPolls = LongPolls(perUser: Limits.heldPerUser)
  let store = host.store
  let service = QueryService(
    store, longPolls, Renewals(store, { _, _, done in done() }), FairQueue { work in work() },
    QueryService.Control(
      rotate: { _, _, done in done() },
      reload: { $0(.failure(Failure("no"))) }, ring: { _, _, done in done(Failure("no")) },
      report: { event in
        precondition(!"\(event)".utf8.contains(UInt8(ascii: "\n")), "\(event)")
      }))
  let connections = Connections(.query())
  guard let number = connections.admit(channel, peer.user, isOperator: false) else {
    fatalError("there is room")
  }
  var answer: [UInt8] = []
  do {
    let caller = Caller(peer.user, number)
    try HTTPConnection.add(to: channel, service, caller, connections) { request in
      service.answer(request, peer, caller, on: channel.eventLoop)
    }
    try channel.connect(to: SocketAddress(unixDomainSocketPath: "/jotd.sock")).wait()
    // In pieces, because a boundary can be anywhere: at each zero byte.
    for piece in bytes.split(separator: 0) {
      try channel.writeInbound(ByteBuffer(bytes: piece))
      loop.run()
    }
    loop.advanceTime(by: .seconds(3_700))
  } catch {
    // Broken clients are closed.
  }
  while let part = try? channel.readOutbound(as: ByteBuffer.self) {
    answer += part.readableBytesView
  }
  _ = try? channel.finish()
  let text = String(decoding: answer, as: UTF8.self)
  precondition(answer.isEmpty || text.hasPrefix("HTTP/1.1 "))
  precondition(!text.contains(host.secretToken), "a token that is not allowed")
}

/// Two identities with tokens, made once.
private struct Host: Sendable {
  let store: StatusStore
  /// The token that the caller may not have.
  let secretToken: String

  init() {
    let yaml = """
      signing: { secret: { env: SECRET } }
      identities:
        a: { user_id: a, role: viewer, lifetime: 10y, allow: [ { unit: client.service } ] }
        b: { user_id: b, role: admin, lifetime: 10y, allow: [ { user: root } ] }
      """
    let diagnostics = Diagnostics()
    var reader = ConfigurationReader(diagnostics)
    reader.readMain(
      try? YAMLDocument.root(of: Array(yaml.utf8), file: "jotd.yaml", diagnostics),
      file: "jotd.yaml")
    guard let settings = reader.settings, diagnostics.errors.isEmpty else {
      fatalError("\(diagnostics.errors)")
    }
    let keys = Keys(signing: ZeroSigner())
    store = StatusStore(StatusStore.General(access: Access(settings), keys: keys))
    var rotator = Rotator(keys: keys)
    var random = SystemRandomNumberGenerator()
    _ = store.publish(
      rotator.step(.configured(settings.identities, keys), at: .now, random: &random))
    secretToken = store["b"]?.token.map { String(decoding: $0.compact, as: UTF8.self) } ?? ""
    precondition(!secretToken.isEmpty)
  }
}

private let host = Host()
