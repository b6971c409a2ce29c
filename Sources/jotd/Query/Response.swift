import NIOCore
import NIOHTTP1
import Rotation

/// An answer of the query service.
struct Response: Sendable {
  var status: HTTPResponseStatus
  /// Names and values; without labels, as SwiftNIO takes them.
  var headers: [(String, String)] = []
  var body = ByteBuffer()
  /// Counts the body's bytes while they are on their way; nil for an answer that is small.
  var charge: Charge?

  /// A JSON value, on a line of its own.
  static func json(
    _ value: JSON, type: String = "application/json", status: HTTPResponseStatus = .ok
  ) -> Response {
    var body: [UInt8] = []
    value.append(to: &body)
    body.append(0x0a)
    return Response(
      status: status, headers: [("Content-Type", type), ("Cache-Control", "no-store")],
      body: ByteBuffer(bytes: body))
  }
}
