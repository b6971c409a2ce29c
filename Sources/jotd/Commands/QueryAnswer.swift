import Rotation

/// A whole answer of the daemon: with a status line, and a body as long as its head says (RFC 9112
/// section 6.2). What is cut short is no answer.
struct QueryAnswer {
  let status: Int
  let body: [UInt8]
  /// The entity tag, as it goes into If-None-Match; nil for none, and for one that is not as
  /// jotd's.
  let tag: String?

  /// Reads `bytes`; throws when they are no answer, and never quotes them.
  init(_ bytes: [UInt8]) throws(Failure) {
    guard !bytes.isEmpty else { throw Failure("the connection was closed without one") }
    let blank: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a]
    let start = bytes.prefix(Limits.headerBytes)
    guard let end = start.indices.first(where: { start[$0...].starts(with: blank) }) else {
      throw Failure("it has no end of its head")
    }
    let lines = String(decoding: start[..<end], as: UTF8.self).split(separator: "\r\n")
    let words = lines.first?.split(separator: " ", maxSplits: 2) ?? []
    guard words.count > 1, words[0] == "HTTP/1.1", words[1].utf8.count == 3,
      let status = Int(words[1]), (200...599).contains(status)
    else { throw Failure("it is not HTTP/1.1") }
    func values(_ name: String) -> [String] {
      lines.dropFirst().compactMap { line in
        let sides = line.split(separator: ":", maxSplits: 1)
        guard sides.count == 2, sides[0].lowercased() == name else { return nil }
        return String(sides[1].drop { $0 == " " })
      }
    }
    let lengths = values("content-length")
    guard lengths.count == 1, let length = Int(lengths[0]), length >= 0
    else { throw Failure("it does not say how long it is") }
    let count = bytes.count - end - blank.count
    guard count == length else {
      throw Failure("its body has \(count) of \(length) bytes")
    }
    self.status = status
    tag = values("etag").first { tag in
      tag.utf8.count <= Limits.nameBytes && tag.utf8.allSatisfy { (0x21...0x7e).contains($0) }
    }
    body = Array(bytes[(end + blank.count)...])
  }

  var json: JSON? { try? JSON(parsing: body) }

  /// What an error's body says; the bare status when it says nothing.
  var problem: String {
    if case .string(let detail)? = json?["detail"] { return detail }
    return "HTTP status \(status)"
  }
}

extension JSON {
  /// The text of a string; nil for another value.
  var string: String? { if case .string(let text) = self { text } else { nil } }
  /// The elements of an array, the members of an object; nil for another value.
  var elements: [JSON]? { if case .array(let elements) = self { elements } else { nil } }
  var members: [JSON.Member]? { if case .object(let members) = self { members } else { nil } }
}
