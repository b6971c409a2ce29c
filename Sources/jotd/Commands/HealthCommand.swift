import ArgumentParser
import Rotation

struct HealthCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health",
    abstract: "Say in one line how the daemon is, for monitoring.",
    discussion: """
      Exits as monitoring plugins do: 0 when all is well, 1 for a warning, 2 when a token expired \
      or is missing, 3 when the daemon cannot be asked.
      """)

  @OptionGroup var daemon: DaemonOptions

  func run() throws {
    let (state, text, code) = judged()
    // What monitoring reads as numbers begins after the first bar.
    let words = redacted(text).utf8.map { $0 == UInt8(ascii: "|") ? UInt8(ascii: "/") : $0 }
    let data = state.numbers.map { " | \($0)" } ?? ""
    printLine("JOTD \(state.word) - \(String(decoding: words, as: UTF8.self))\(data)")
    if code != 0 { throw ExitCode(code) }
  }

  /// What the line says, whatever is wrong.
  private func judged() -> (state: (word: String, numbers: String?), text: String, code: Int32) {
    do throws(Problem) {
      let client = QueryClient(daemon)
      let answer = try client.ask("GET", "/health", limit: Limits.healthTime)
      guard let json = answer.json, let identities = json["identities"]?.members else {
        throw client.broken(answer.problem)
      }
      let (text, numbers) = summary(identities, json["notes"])
      switch json["status"]?.string {
      case "pass": return (("OK", numbers), text, 0)
      case "warn": return (("WARNING", numbers), text, 1)
      case "fail": return (("CRITICAL", numbers), text, 2)
      default: throw client.broken("it has no status")
      }
    } catch { return (("UNKNOWN", nil), error.detail, 3) }
  }

  /// Counts of states, with names of what is not fresh, what fails, and performance data.
  private func summary(
    _ identities: [JSON.Member], _ notes: JSON?
  ) -> (text: String, numbers: String) {
    var names: [String: [String]] = [:]
    var faults: [String] = []
    for identity in identities {
      if let state = identity.value["state"]?.string {
        names[state, default: []].append(identity.name)
      }
      if let fault = identity.value["last_error"]?.string {
        faults.append("\(identity.name): \(fault)")
      }
    }
    faults += (notes?.elements ?? []).compactMap(\.string)
    let states = ["fresh", "stale", "expired", "missing"]
    var parts = ["\(names["fresh"]?.count ?? 0) of \(counted(identities.count, "identity")) fresh"]
    for state in states.dropFirst() {
      if let some = names[state] { parts.append("\(state): \(some.joined(separator: ", "))") }
    }
    let numbers = states.map { "\($0)=\(names[$0]?.count ?? 0)" }.joined(separator: " ")
    return ((parts + faults).joined(separator: "; "), numbers)
  }
}
