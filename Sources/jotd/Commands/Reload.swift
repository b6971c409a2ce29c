import ArgumentParser
import Rotation

struct Reload: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Have the running daemon apply its configuration anew.",
    discussion: "Applied whole or not at all: exits with 78, and says why, when it is refused.")

  @OptionGroup var daemon: DaemonOptions

  func run() throws {
    let counts = try reporting { () throws(Problem) in
      let client = QueryClient(daemon)
      let answer = try client.demand("POST", "/v1/reload").json
      let names = ["unchanged", "added", "changed", "removed"]
      let counts = names.compactMap { name -> String? in
        guard case .number(let text)? = answer?[name], let count = Int(text) else { return nil }
        return "\(count) \(name)"
      }
      guard counts.count == names.count else {
        throw client.broken("it does not say what changed")
      }
      return counts
    }
    printLine("reloaded: " + counts.joined(separator: ", "))
  }
}
