import NIOHTTP1
import Rotation

/// Why a request is not granted: `detail` says what is wrong and what to do (RFC 9457). The daemon
/// answers with it; a command makes one, too, when it gets no answer.
struct Problem: Error {
  let status: HTTPResponseStatus
  let detail: String
  /// More fields of the answer's head.
  var headers: [(String, String)] = []
  /// What to do about it, in lines for a terminal; empty when the detail says it.
  var advice = ""

  init(
    _ status: HTTPResponseStatus, _ detail: String, _ headers: [(String, String)] = [],
    advice: String = ""
  ) {
    self.status = status
    self.detail = detail
    self.headers = headers
    self.advice = advice
  }

  /// The answer that says so.
  var response: Response {
    var response = Response.json(
      .object([
        JSON.Member("type", .string("about:blank")),
        JSON.Member("title", .string(status.reasonPhrase)),
        JSON.Member("status", .number(Int64(status.code))),
        JSON.Member("detail", .string(detail)),
      ]), type: "application/problem+json", status: status)
    response.headers += headers
    return response
  }
}
