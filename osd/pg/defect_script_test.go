package pg

import "testing"

// TestDefectsInScripts plays scripts with a rule broken: each must complain. Rules that
// chance breaks often enough are left to the simulation, see TestDefectsInSimulation.
func TestDefectsInScripts(t *testing.T) {
	for _, c := range []struct {
		name   string
		probe  probe
		script func(tester)
	}{
		{"refused newcomer", probe{defect: holdRefused}, refusedNewcomerDoesNotBlock},
		{"refused handover", probe{defect: holdRefused}, refusedHandoverDoesNotBlock},
		{"union", probe{defect: dropUnion}, refusedNewcomerStaysRequired},
		{"tail of a learner", probe{defect: forgetScan}, learnerForgetsItsTailHalfWay},
		{"listing of another stream", probe{defect: anyListing}, listingOfEarlierSession},
		{"listing of an earlier lead", probe{defect: anyListing}, listingOfEarlierLead},
		{"info of another stream", probe{defect: anyInfo}, infoOfEarlierQuery},
		{"write during a listing", probe{defect: forgetDirty}, writeDuringListing},
		{"last copy, in flight", probe{defect: copyCommitted}, recoversFromLastCopy},
		{"last copy, new term", probe{defect: waitForDead}, recoversFromLastCopyInNewTerm},
		{"primary without a copy", probe{defect: unfitLead}, primaryWithoutCopyHandsOver},
		{"no lease", probe{defect: readUnleased}, noStaleRead},
		{"lease of a newer map", probe{defect: anyEpoch}, noStaleRead},
		{"leases hear late", probe{lateEpoch: true}, noStaleRead},
		{"restart", probe{impatient: true}, noStaleReadAfterRestart},
		{"own grants", probe{defect: serveEarly}, noStaleReadAfterPromotion},
		{"tail", probe{defect: serveTail}, tailIsNotServed},
		{"old term", probe{defect: acceptOldTerm}, oldTermIsRefused},
		{"objects of a tail", probe{defect: keepTail}, followerDiesDuringActivation},
		{"request ids", probe{defect: forgetRequests}, repeats},
		{"horizon", probe{defect: forgetHorizon}, repeatAfterHorizon},
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
