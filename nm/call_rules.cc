#include "nm/call_rules.h"

#include "common/wire/understudy.pb.h"

namespace understudy {

CallRule call_rule(uint16_t type) {
  switch (type) {
    case wire::HELLO:
    case wire::ENROLL:  // With a join token, or the key that a name belongs to.
    case wire::LOGIN: return CallRule::kAnybody;
    case wire::LOCATE:
    case wire::CREATE_FOLDER:
    case wire::CREATE_LINK:
    case wire::REMOVE:
    case wire::MOVE:
    case wire::SET_ATTRIBUTES:
    case wire::UNDELETE:
    case wire::LIST_FOLDER:
    case wire::VIEW:
    case wire::SEARCH:
    case wire::LIST_DELETED:
    case wire::LOCKS:
    case wire::STATUS:
    case wire::EVENTS:
    case wire::WAIT:
    case wire::EXPLAIN:
    case wire::SET_DURABILITY:
    case wire::SET_PASSWORD:
    case wire::LIST_USERS:
    case wire::WHO_AM_I:
    case wire::LOGOUT:
    case wire::AUTHORITY:
    case wire::SET_ACCESS:
    case wire::REQUEST_ACCESS:
    case wire::LIST_REQUESTS:
    case wire::ANSWER_REQUEST: return CallRule::kUser;
    case wire::REGISTER:
    case wire::HEARTBEAT:
    case wire::ANNOUNCE:
    case wire::REPLICATE:
    case wire::PARTNER_FETCH:
    case wire::REPORT_DAMAGE:
    case wire::LEAVE: return CallRule::kServer;
    default: return CallRule::kAdministrator;
  }
}

}  // namespace understudy
