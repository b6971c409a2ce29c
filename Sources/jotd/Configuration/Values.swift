import Rotation

/// Readers of single values. Each returns nil, and leaves an error, when the node is not what it
/// must be; `name` is the value's path in the document.
extension Diagnostics {
  func string(_ node: YAMLNode, _ name: @autoclosure () -> String) -> String? {
    guard case .scalar(let text, let isPlain) = node.content else {
      return refuse(node, name(), "a string")
    }
    guard isPlain else { return text }
    if case .string = CoreScalar(text) { return text }
    if case .null = CoreScalar(text) { return refuse(node, name(), "a string") }
    let example = !isDiscreet && Quoting.isWord(text) ? ", \"\(text)\"" : ""
    error(
      node.location, "\(name()) must be a string, not \(node.kind): write it in quotes\(example)")
    return nil
  }

  /// A scalar whatever the core schema makes of it: names that may look like numbers.
  func word(_ node: YAMLNode, _ name: @autoclosure () -> String) -> String? {
    guard case .scalar(let text, let isPlain) = node.content, !text.isEmpty else {
      return refuse(node, name(), "a name")
    }
    if isPlain, case .null = CoreScalar(text) { return refuse(node, name(), "a name") }
    return text
  }

  func bool(_ node: YAMLNode, _ name: @autoclosure () -> String) -> Bool? {
    guard case .scalar(let text, true) = node.content, case .bool(let value) = CoreScalar(text)
    else { return refuse(node, name(), "true or false") }
    return value
  }

  /// A number of things, in decimal digits.
  func count(
    _ node: YAMLNode, _ name: @autoclosure () -> String, in range: ClosedRange<UInt32>
  ) -> UInt32? {
    guard case .scalar(let text, _) = node.content,
      text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = UInt32(text),
      range.contains(value)
    else {
      return refuse(node, name(), "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func choice(_ node: YAMLNode, _ name: @autoclosure () -> String, of choices: [String]) -> String?
  {
    guard let text = string(node, name()) else { return nil }
    if choices.contains(text) { return text }
    let nearest = nearest(to: text, among: choices)
    let hint = nearest.map { "; did you mean \"\($0)\"?" } ?? ""
    error(
      node.location,
      "\(name()) must be one of \(choices.joined(separator: ", ")), "
        + "not \(shownValue(text, isNearAWord: nearest != nil))\(hint)")
    return nil
  }

  func duration(_ node: YAMLNode, _ name: @autoclosure () -> String) -> Duration? {
    guard case .scalar(let text, _) = node.content, let value = Duration(timeSpan: text) else {
      return refuse(
        node, name(), "a time span as in systemd.time(7), such as 24h, 1h 30min, 90s or 2d")
    }
    return value
  }

  func threshold(_ node: YAMLNode, _ name: @autoclosure () -> String) -> Threshold? {
    guard case .scalar(let text, _) = node.content, let value = Threshold(text) else {
      return refuse(
        node, name(),
        "a time span as in systemd.time(7), such as 1h or 90s, or a share of the lifetime below "
          + "100%, such as 20%")
    }
    return value
  }

  /// Three or four octal digits, quoted or not.
  func mode(_ node: YAMLNode, _ name: @autoclosure () -> String) -> UInt16? {
    guard case .scalar(let text, _) = node.content, (3...4).contains(text.utf8.count),
      text.utf8.allSatisfy({ (0x30...0x37).contains($0) })
    else { return refuse(node, name(), "three or four octal digits, such as \"0640\"") }
    return UInt16(text, radix: 8)
  }

  /// An absolute path without detours.
  func path(_ node: YAMLNode, _ name: @autoclosure () -> String) -> Path? {
    guard let text = string(node, name()) else { return nil }
    let bytes = Array(text.utf8)
    let names = bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
      .dropFirst()
    let isClean =
      bytes.first == UInt8(ascii: "/") && !bytes.contains(0)
      && names.allSatisfy { $0.count > 2 || !$0.allSatisfy { $0 == UInt8(ascii: ".") } }
    guard isClean else {
      error(
        node.location,
        "\(name()) must be an absolute path to a file, without \"//\", \".\" and \"..\": "
          + "not \(shownValue(text))")
      return nil
    }
    guard bytes.count <= Limits.pathBytes,
      names.allSatisfy({ $0.count <= Limits.nameBytes })
    else {
      error(
        node.location,
        "\(name()) is too long: a path has at most \(Limits.pathBytes) bytes, "
          + "a name in it \(Limits.nameBytes)")
      return nil
    }
    hide(names)
    return Path(text)
  }

  func list(_ node: YAMLNode, _ name: @autoclosure () -> String) -> [YAMLNode]? {
    guard case .list(let nodes) = node.content else {
      return refuse(node, name(), "a list (lines that begin with \"- \")")
    }
    return nodes
  }

  /// The same with a bound on its entries, which `nouns` names.
  func list(
    _ node: YAMLNode, _ name: @autoclosure () -> String, upTo most: Int, _ nouns: String
  ) -> [YAMLNode]? {
    guard let nodes = list(node, name()) else { return nil }
    guard nodes.count <= most else {
      error(
        node.location, "\(name()) has \(nodes.count) \(nouns): at most \(most) are allowed")
      return nil
    }
    return nodes
  }

  private func refuse<Value>(_ node: YAMLNode, _ name: @autoclosure () -> String, _ allowed: String)
    -> Value?
  {
    var shown = node.kind
    if case .scalar(let text, _) = node.content, shown != "nothing" {
      shown = shownValue(text)
    }
    error(node.location, "\(name()) must be \(allowed), not \(shown)")
    return nil
  }
}
