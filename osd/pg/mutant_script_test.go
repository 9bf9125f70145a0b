package pg

import "testing"

// TestMutantsInScripts plays scripts with a rule broken: each must complain. Rules that
// chance breaks often enough are left to the simulation, see internal/sim.
func TestMutantsInScripts(t *testing.T) {
	for _, c := range []struct {
		name   string
		probe  probe
		script func(tester)
	}{
		{"refused newcomer", probe{mutant: HoldRefused}, refusedNewcomerDoesNotBlock},
		{"refused handover", probe{mutant: HoldRefused}, refusedHandoverDoesNotBlock},
		{"union", probe{mutant: DropUnion}, refusedNewcomerStaysRequired},
		{"tail of a learner", probe{mutant: ForgetScan}, learnerForgetsItsTailHalfWay},
		{"listing of another stream", probe{mutant: AnyListing}, listingOfEarlierSession},
		{"listing of an earlier lead", probe{mutant: AnyListing}, listingOfEarlierLead},
		{"info of another stream", probe{mutant: AnyInfo}, infoOfEarlierQuery},
		{"write during a listing", probe{mutant: ForgetDirty}, writeDuringListing},
		{"last copy, in flight", probe{mutant: CopyCommitted}, recoversFromLastCopy},
		{"last copy, beside a refused write", probe{mutant: CopyCommitted}, recoversFromLastCopyBesideRefusal},
		{"last copy, new term", probe{mutant: WaitForDead}, recoversFromLastCopyInNewTerm},
		{"primary without a copy", probe{mutant: UnfitLead}, primaryWithoutCopyHandsOver},
		{"no lease", probe{mutant: ReadUnleased}, noStaleRead},
		{"lease of a newer map", probe{mutant: AnyEpoch}, noStaleRead},
		{"leases hear late", probe{lateEpoch: true}, noStaleRead},
		{"restart", probe{impatient: true}, noStaleReadAfterRestart},
		{"own grants", probe{mutant: ServeEarly}, noStaleReadAfterPromotion},
		{"grants to who has an old map", probe{mutant: AnyActs}, noStaleReadAfterPromotion},
		{"tail", probe{mutant: ServeTail}, tailIsNotServed},
		{"old term", probe{mutant: AcceptOldTerm}, oldTermIsRefused},
		{"objects of a tail", probe{mutant: KeepTail}, followerDiesDuringActivation},
		{"no read repair", probe{mutant: NoReadRepair}, readRepair},
		{"no read repair, write", probe{mutant: NoReadRepair}, writeRepair},
		{"no read repair, recovery", probe{mutant: NoReadRepair}, unreadableTailIsPulled},
		{"pull of any version", probe{mutant: PullAnything}, pullWantsTheVersion},
		{"repair without the lock", probe{mutant: UnlockedRepair}, writeDuringRepair},
		{"pages are trusted", probe{mutant: TrustPages}, writesDuringScrub},
		{"the primary is right", probe{mutant: PrimaryIsRight}, majorityIsRight},
		{"look before the disk has it", probe{mutant: LookEarly}, checkSeesWhatWasSent},
		{"request ids", probe{mutant: ForgetRequests}, repeats},
		{"third copy", probe{mutant: ShrinkToTarget}, outKeepsTheThirdCopy},
		{"third copy of a primary", probe{mutant: ShrinkToTarget}, outPrimaryHandsOver},
		{"map of a write", probe{mutant: AnyAge}, delayedFirstAttempt},
		{"word of an earlier term", probe{mutant: AnyWord}, wordOfAnEarlierTerm},
		{"word of the unserved", probe{mutant: WordUnserved}, wordOfTheUnserved},
		{"newcomer before own grants", probe{mutant: GrowEarly}, newcomerDoesNotOvertakeLeases},
		{"disks that are full", probe{mutant: FillDisks}, fullMember},
		{"member without room", probe{mutant: AwaitRoom}, memberWithoutRoom},
		{"forced", probe{mutant: KeepForcedLog}, forcedHalfWay},
		{"left of a cursor", probe{mutant: SkipLeft}, backfillGoesOn},
		{"left of a cursor, another primary", probe{mutant: SkipLeft}, backfillGoesOnElsewhere},
		{"cursor and tail", probe{mutant: KeepCursor}, backfillForgetsATail},
		{"write of a deposed primary", probe{mutant: SurelyNot}, deposedWithWorkUnderWay},
		{"several writes to an object", probe{mutant: ForgetTouched}, deltaOfSeveralWrites},
		{"trimmed log", probe{mutant: DeltaAfterTrim}, deltaAfterTrim},
		{"horizon", probe{mutant: ForgetHorizon}, repeatAfterHorizon},
		{"log of a child", probe{mutant: ChildWithoutLog}, splits},
		{"primary in the middle of a split", probe{mutant: LeadUnsplit}, slowSplitOfPrimary},
		{"member in the middle of a split", probe{mutant: FollowUnsplit}, splitBeforeFollowing},
		{"interrupted split", probe{mutant: ForgetSplit}, splitCrashes},
		{"references nobody remembers", probe{mutant: ForgetOutbox}, dropsAreNoted},
		{"record behind its write", probe{mutant: OutboxAfter}, logEndsBehindOutbox},
		{"object of another PG", probe{mutant: AnyObject}, misdirected},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := c.probe.play(c.script)
			if said == "" {
				t.Fatal("the script did not notice")
			}
			if len(said) > 120 {
				said = said[:120] + "..."
			}
			t.Log(said)
		})
	}
}
