import Rotation

/// Turns the `claims` of an identity into JSON, as YAML's core schema reads them.
extension Diagnostics {
  /// The claims in their order; nil, and errors, when one of them cannot be.
  func claims(_ node: YAMLNode, _ name: @autoclosure () -> String) -> [JSON.Member]? {
    guard let entries = node.entries(of: name(), self) else { return nil }
    var members: [JSON.Member] = []
    var isComplete = true
    for entry in entries {
      guard let value = json(entry.value, "\(name()).\(step(entry.name))") else {
        isComplete = false
        continue
      }
      let member = JSON.Member(entry.name, value)
      if let fault = Identity.fault(inClaim: member) {
        error(entry.key.location, "\(fault) (in \(name()))")
        isComplete = false
      }
      members.append(member)
    }
    return isComplete ? members : nil
  }

  private func json(_ node: YAMLNode, _ name: String) -> JSON? {
    switch node.content {
    case .scalar(let text, false): return .string(text)
    case .scalar(let text, true):
      switch CoreScalar(text) {
      case .null: return .null
      case .bool(let value): return .bool(value)
      case .integer(let number), .float(let number): return .number(number)
      case .string(let text): return .string(text)
      case .notInJSON:
        error(node.location, "\(name) is a number that JSON cannot hold: \(shown(text))")
        return nil
      }
    case .list(let nodes):
      let elements = nodes.enumerated().map { json($1, "\(name)[\($0)]") }
      return elements.contains { $0 == nil } ? nil : .array(elements.compactMap(\.self))
    case .map:
      guard let entries = node.entries(of: name, self) else { return nil }
      let members = entries.map { entry in
        json(entry.value, "\(name).\(step(entry.name))").map { JSON.Member(entry.name, $0) }
      }
      return members.contains { $0 == nil } ? nil : .object(members.compactMap(\.self))
    }
  }
}
