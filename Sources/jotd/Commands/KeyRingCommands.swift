import ArgumentParser
import Rotation

/// What operators want of the keys that the daemon makes itself.
extension KeyCommand {
  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list",
      abstract: "Show the keys that the running daemon makes, and their states.")

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
      try reporting { () throws(Problem) in
        let client = QueryClient(daemon)
        guard let rings = try client.demand("GET", "/v1/keys").json?["keys"]?.elements else {
          throw client.broken("it has no list of keys")
        }
        if rings.isEmpty { printLine("no key of the configuration has generate") }
        for ring in rings {
          guard let lines = KeyTable.lines(of: ring) else {
            throw client.broken("it does not say how a key stands")
          }
          printLine(lines)
        }
      }
    }
  }

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "add",
      abstract: "Make another key now, and publish it: it is the next to sign.",
      discussion: """
        It signs when rotate_every says so, or once it is activated: not before verifiers had \
        publish_ahead to take notice of it.
        """)

    @OptionGroup var ring: RingArgument

    func run() throws { try ring.post("add") }
  }

  struct Activate: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "activate",
      abstract: "Have a published key sign from now on, in place of the one that does.",
      discussion: "The one before stays published until the last of its tokens has ended.")

    @OptionGroup var member: MemberArgument

    @Flag(help: "Also when verifiers may not know it yet, and would refuse its tokens.")
    var now = false

    func run() throws { try member.post("activate" + (now ? "?now=true" : "")) }
  }

  struct Retire: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "retire", abstract: "Drop a published key that is not to sign.")

    @OptionGroup var member: MemberArgument

    func run() throws { try member.post("retire") }
  }

  struct Revoke: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "revoke",
      abstract: "Drop a key at once, whoever has tokens of it: for one that somebody else has.",
      discussion: """
        Verifiers refuse its tokens as soon as they fetch the keys anew. If it signs, the next \
        key does from now on, and every token of it is replaced: until verifiers fetch, they may \
        refuse those, too.
        """)

    @OptionGroup var member: MemberArgument

    func run() throws { try member.post("revoke") }
  }
}
