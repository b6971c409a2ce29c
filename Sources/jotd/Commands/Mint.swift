import ArgumentParser
import Rotation

struct Mint: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make one token, without a daemon, and print it.",
    discussion: "The secret comes from the configuration, or from --secret-file or --secret-env.")

  @Option(help: "Whom the token speaks for.")
  var userID: String

  @Option(help: "What it allows: viewer, operator or admin.")
  var role: Role

  @OptionGroup var lifetimes: LifetimeOptions

  @Option(
    name: .customLong("claim"), parsing: .singleValue,
    help: ArgumentHelp(
      "A further claim; may be repeated. The value is read as JSON if it is JSON, and is a "
        + "string otherwise.", valueName: "name=value"))
  var claims: [String] = []

  @OptionGroup var key: KeyOptions

  func validate() throws {
    if let fault = Identity.fault(inUserID: userID) {
      throw ValidationError("--user-id: \(fault).")
    }
    _ = try members()
  }

  func run() throws {
    let (signer, defaults) = try key.load()
    let lifetime = lifetimes.value ?? defaults.lifetime
    let template = ClaimsTemplate(userID: userID, role: role, claims: try members())
    try printToken(template, lifetime, signer)
  }

  private func members() throws -> [JSON.Member] {
    var members: [JSON.Member] = []
    for claim in claims {
      guard let equals = claim.firstIndex(of: "="), equals > claim.startIndex else {
        throw ValidationError("--claim \(claim): a claim is written name=value.")
      }
      let name = String(claim[..<equals])
      let text = String(claim[claim.index(after: equals)...])
      let member = JSON.Member(name, (try? JSON(parsing: Array(text.utf8))) ?? .string(text))
      if let fault = Identity.fault(inClaim: member) { throw ValidationError("--claim: \(fault).") }
      guard !members.contains(where: { $0.name == name }) else {
        throw ValidationError("--claim: \(name) is given twice.")
      }
      members.append(member)
    }
    return members
  }
}

/// Mints a token that lives from now on and prints it on standard output.
func printToken(_ template: ClaimsTemplate, _ lifetime: Duration, _ signer: any Signer) throws {
  var minter = Minter()
  let token: Token
  do { token = try minter.mint(template, lifetime: lifetime, at: .now, signer: signer) } catch {
    printNote("\(error)")
    throw ExitCode.hostError
  }
  guard token.compact.count <= Limits.tokenBytes else {
    printNote("the token would be longer than \(Limits.tokenBytes) bytes: leave claims out")
    throw ExitCode.badData
  }
  printLine(String(decoding: token.compact, as: UTF8.self))
}
