import NIOCore
import NIOHTTP1
import Rotation
import Testing

@testable import jotd

/// From a request's head to what is understood, and from the store to what is answered.
struct QueryTests {
  private func request(_ uri: String) -> Request {
    Request(HTTPRequestHead(version: .http1_1, method: .GET, uri: uri), body: [])
  }

  @Test func targets() throws {
    #expect(request("/v1/identities/a/token").path == ["v1", "identities", "a", "token"])
    #expect(request("http://jotd/health").path == ["health"])
    #expect(request("/v1/identities/%61/token").path?[2] == "a")
    #expect(request("*").path == nil && request("/%zz").path == nil && request("/%ff").path == nil)
    #expect(request("/").path == [])
    #expect(try request("/a?wait=1+h&x=%26").field("wait") == "1 h")
    #expect(try request("/a?wait=1+h&x=%26").field("x") == "&")
    #expect(throws: Problem.self) { try self.request("/a?wait=1&wait=2").field("wait") }
    #expect(request("/a?wait=%").query == nil)
  }

  @Test func problemsAreOfRFC9457() {
    let response = Problem(.forbidden, "user 7 is no operator", [("Retry-After", "1")]).response
    #expect(
      String(buffer: response.body)
        == #"{"type":"about:blank","title":"Forbidden","status":403,"#
        + #""detail":"user 7 is no operator"}"# + "\n")
    #expect(response.headers.contains { $0 == ("Content-Type", "application/problem+json") })
    #expect(response.headers.contains { $0 == ("Retry-After", "1") })
  }

  @Test func representations() throws {
    #expect(Representation(accept: []) == .jwt)
    #expect(Representation(accept: ["application/json"]) == .json)
    #expect(Representation(accept: ["text/html, application/*;q=0.1, application/json"]) == .json)
    #expect(Representation(accept: ["application/json;q=0.2, application/jwt"]) == .jwt)
    let status = try #require(try publishedStore()["door"])
    let token = try #require(status.token)
    let tags = Representation.allCases.map { $0.tag(of: token, of: status.identity) }
    #expect(Set(tags).count == 2 && tags.allSatisfy { $0.hasPrefix("\"1800000000-zero-") })
  }

  @Test func metricsOfTwoIdentities() throws {
    let text = Metrics(try publishedStore(), at: moment).text
    for line in [
      "# TYPE jotd_identities gauge", "jotd_identities 2",
      #"jotd_token_expiry_timestamp_seconds{identity="yard"} 1800003600"#,
      #"jotd_identity_state{identity="door",state="fresh"} 1"#,
      #"jotd_tokens_issued_total{identity="door",result="success"} 1"#,
      #"jotd_deliveries_total{identity="door",result="failure"} 0"#,
    ] {
      #expect(text.split(separator: "\n").contains(Substring(line)), "\(line)\n\(text)")
    }
    #expect(!text.contains("eyJ"))
  }

  @Test func rulesOfAccess() throws {
    let door = try #require(try publishedStore()["door"]).identity
    #expect(door.access == [.user(0)] && !door.isLoadable(by: "door.service"))
    #expect(!door.isRenewed(for: "door.service"))
  }
}
