import ArgumentParser
import Rotation

/// The name of a key that jotd makes itself.
struct RingArgument: ParsableArguments {
  @Argument(help: "The name of the key in the configuration, which has generate.")
  var key: String

  @OptionGroup var daemon: DaemonOptions

  func validate() throws {
    if let fault = Identity.fault(inName: key, of: "a key") { throw ValidationError(fault) }
  }

  /// Has the daemon do it, and prints the ring as it is then.
  func post(_ path: String) throws {
    try reporting { () throws(Problem) in
      let client = QueryClient(daemon)
      guard let ring = try client.demand("POST", "/v1/keys/\(key)/\(path)").json,
        let lines = KeyTable.lines(of: ring)
      else { throw client.broken("it does not say how the key stands") }
      printLine(lines)
    }
  }
}

/// One of the keys that follow each other under that name.
struct MemberArgument: ParsableArguments {
  @OptionGroup var ring: RingArgument

  @Argument(help: "Which: its number, or the beginning of its kid, as jotd key list shows them.")
  var kid: String

  func validate() throws {
    if let fault = KeyLabel.fault(inKid: kid) { throw ValidationError(fault) }
  }

  func post(_ verb: String) throws { try ring.post("\(kid)/\(verb)") }
}
