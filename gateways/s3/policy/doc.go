// Package policy reads and evaluates policy documents in the language of AWS's
// IAM: what is attached to a bucket says who may do what with it, what is
// attached to a user says what that user may do.
//
// A document is parsed once, strictly, into a Policy: what this package does not
// understand is refused, with the words S3 uses, and never ignored, for an
// ignored condition would open what its author meant to close. A Policy answers
// one question, Decide: whether it allows a Request, denies it, or says nothing
// of it. How the answers of several policies and of access control lists combine
// is the gateway's affair.
//
// The package computes and nothing else: it has no clock, does no I/O and starts
// nothing. What a condition looks at comes from Request.Keys, which is asked only
// for keys that the decision hangs on. The work for one decision is bounded by
// the size of the document times the size of what it is matched with: patterns
// are matched without backtracking over more than one wildcard.
package policy
