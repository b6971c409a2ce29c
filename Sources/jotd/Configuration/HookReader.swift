import Glibc
import Rotation

/// Reads `on_rotate`.
extension Diagnostics {
  /// The hooks of a list; those that are wrong leave an error.
  func hooks(_ node: YAMLNode, _ name: @autoclosure () -> String) -> [Hook] {
    guard let nodes = list(node, name(), upTo: Limits.hooks, "hooks") else { return [] }
    return nodes.enumerated().compactMap { index, node in hook(node, "\(name())[\(index)]") }
  }

  private func hook(_ node: YAMLNode, _ name: String) -> Hook? {
    guard
      let (kind, value, section) = single(node, name, of: ["reload", "restart", "signal", "run"])
    else { return nil }
    switch kind {
    case "reload": return unit(value, section.path("reload")).map { .reload(unit: $0) }
    case "restart": return unit(value, section.path("restart")).map { .restart(unit: $0) }
    case "signal": return signal(value, section.path("signal"))
    default: return command(value, section.path("run"))
    }
  }

  private func signal(_ node: YAMLNode, _ name: String) -> Hook? {
    guard let section = Section(node, name, keys: ["pid_file", "signal"], self) else { return nil }
    let file = section.required("pid_file", "the file that holds the number of the process")
      .flatMap {
        path($0, section.path("pid_file"))
      }
    let allowed = ["HUP", "USR1", "USR2", "INT", "TERM", "WINCH", "CONT"]
    let numbers = [SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGWINCH, SIGCONT]
    let signal = section.required("signal", "one of \(allowed.joined(separator: ", "))").flatMap {
      choice($0, section.path("signal"), of: allowed)
    }
    guard let file, let signal, let index = allowed.firstIndex(of: signal) else { return nil }
    return .signal(pidFile: file, number: numbers[index], name: signal)
  }

  private func command(_ node: YAMLNode, _ name: String) -> Hook? {
    guard let nodes = list(node, name) else { return nil }
    let words = nodes.enumerated().map { index, node -> String? in
      guard case .scalar(let text, _) = node.content, !text.utf8.contains(0) else {
        error(node.location, "\(name)[\(index)] must be a word of the command, not \(node.kind)")
        return nil
      }
      return text
    }
    guard let program = nodes.first, (1...Limits.hookWords).contains(nodes.count) else {
      error(
        node.location, "\(name) must have 1 to \(Limits.hookWords) words: a program and arguments")
      return nil
    }
    guard path(program, "\(name)[0]") != nil, !words.contains(nil) else { return nil }
    let all = words.compactMap { $0.map { Array($0.utf8) } }
    let bytes = all.map(\.count).reduce(0, +)
    guard bytes <= Limits.hookCommandBytes else {
      error(
        node.location,
        "the words of \(name) have \(bytes) bytes: at most \(Limits.hookCommandBytes) are allowed")
      return nil
    }
    return .run(all)
  }
}
