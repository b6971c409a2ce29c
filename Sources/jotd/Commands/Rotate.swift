import ArgumentParser
import Rotation

struct Rotate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Have the running daemon replace tokens at once.")

  @Argument(help: "The identities.", completion: .custom(IdentityNames.complete))
  var names: [String] = []

  @Flag(help: "All identities.")
  var all = false

  @OptionGroup var daemon: DaemonOptions

  func validate() throws {
    guard names.isEmpty == all else {
      throw ValidationError("Name the identities, or give --all.")
    }
    for name in names { try validateIdentity(name) }
  }

  func run() throws {
    let hasFailed = try reporting { () throws(Problem) in
      let client = QueryClient(daemon)
      var hasFailed = false
      for name in try wanted(client) {
        let answer = try client.demand("POST", "/v1/identities/\(name)/rotate").json
        if let fault = answer?["last_error"]?.string {
          hasFailed = true
          writeToStandardError("\(name): not everywhere: \(redacted(fault))\n")
        } else if let end = answer?["expires_at"]?.string.flatMap(Instant.init(rfc3339:)) {
          printLine("\(name): rotated, expires \(end.rfc3339)")
        } else {
          throw client.broken("it does not say when the new token of \(name) expires")
        }
      }
      return hasFailed
    }
    if hasFailed { throw ExitCode.unavailable }
  }

  /// The identities that are named, or all that there are.
  private func wanted(_ client: QueryClient) throws(Problem) -> [String] {
    guard all else { return names }
    guard let known = try client.demand("GET", "/v1/identities").json?["identities"]?.elements
    else { throw client.broken("it has no list of identities") }
    let found = known.compactMap { $0["identity"]?.string }
    guard found.count == known.count, found.allSatisfy({ Identity.fault(inName: $0) == nil }) else {
      throw client.broken("it has identities without a name")
    }
    return found
  }
}
