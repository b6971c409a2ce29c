import NIOCore
import NIOHTTP1
import Rotation

/// A request, read to its end and within the limits.
struct Request: Sendable {
  let method: HTTPMethod
  /// The path's segments, decoded; nil when the target is no path (RFC 9112 section 3.2.1).
  let path: [String]?
  /// The query's fields (application/x-www-form-urlencoded); nil when it is malformed.
  let query: [(name: String, value: String)]?
  let headers: HTTPHeaders
  let body: [UInt8]

  init(_ head: HTTPRequestHead, body: [UInt8]) {
    method = head.method
    headers = head.headers
    self.body = body
    // An absolute target is for proxies, and allowed all the same (RFC 9112 section 3.2.2).
    let slash = UInt8(ascii: "/")
    var target = Array(head.uri.utf8)[...]
    if target.starts(with: "http://".utf8),
      let root = target.dropFirst(7).firstIndex(of: slash)
    {
      target = target[root...]
    }
    let mark = target.firstIndex(of: UInt8(ascii: "?"))
    query = mark.map { Request.form(target[($0 + 1)...]) } ?? []
    let encoded = target[..<(mark ?? target.endIndex)]
    guard encoded.first == slash else {
      path = nil
      return
    }
    // Of `/`, no segment; an empty one anywhere else is one, and no route has any.
    let segments =
      encoded.count == 1
      ? [] : encoded.dropFirst().split(separator: slash, omittingEmptySubsequences: false)
    let decoded = segments.compactMap { Request.decoded($0, plus: false) }
    path = decoded.count == segments.count ? decoded : nil
  }

  /// The value of a query field that may occur once; throws a problem when it occurs twice.
  func field(_ name: String) throws(Problem) -> String? {
    guard let query else { throw Problem(.badRequest, "the query is malformed") }
    let values = query.filter { $0.name == name }
    guard values.count < 2 else { throw Problem(.badRequest, "the field \(name) occurs twice") }
    return values.first?.value
  }

  /// The fields of a form (application/x-www-form-urlencoded); nil when it is malformed.
  static func form(_ bytes: ArraySlice<UInt8>) -> [(name: String, value: String)]? {
    var fields: [(String, String)] = []
    for pair in bytes.split(separator: UInt8(ascii: "&")) {
      let sides = pair.split(
        separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = decoded(sides[0], plus: true),
        let value = sides.count < 2 ? "" : decoded(sides[1], plus: true)
      else { return nil }
      fields.append((name, value))
    }
    return fields
  }

  /// Percent-decodes (RFC 3986 section 2.1); nil for a malformed escape or what is not UTF-8.
  private static func decoded(_ text: ArraySlice<UInt8>, plus: Bool) -> String? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count)
    var rest = text
    while let byte = rest.popFirst() {
      switch byte {
      case UInt8(ascii: "%"):
        guard let high = rest.popFirst().flatMap(hexadecimal),
          let low = rest.popFirst().flatMap(hexadecimal)
        else { return nil }
        bytes.append(high << 4 | low)
      case UInt8(ascii: "+") where plus: bytes.append(0x20)
      default: bytes.append(byte)
      }
    }
    guard let text = try? UTF8Span(validating: bytes.span) else { return nil }
    return String(copying: text)
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    Character(Unicode.Scalar(byte)).hexDigitValue.map(UInt8.init)
  }
}

extension Request {
  /// Throws unless the method is one of these (RFC 9110 section 15.5.6).
  func demand(_ methods: [HTTPMethod]) throws(Problem) {
    guard !methods.contains(method) else { return }
    let names = methods.map(\.rawValue).joined(separator: ", ")
    throw Problem(.methodNotAllowed, "allowed here: \(names)", [("Allow", names)])
  }

  /// Whether the client has the representation of this entity tag (RFC 9110 section 13.1.2).
  func knows(_ current: @autoclosure () -> String) -> Bool {
    let known = headers[canonicalForm: "If-None-Match"]
    if known.isEmpty { return false }
    let current = current()
    return known.contains { tag in
      tag == "*" || (tag.hasPrefix("W/") ? tag.dropFirst(2) : tag[...]) == current[...]
    }
  }
}
