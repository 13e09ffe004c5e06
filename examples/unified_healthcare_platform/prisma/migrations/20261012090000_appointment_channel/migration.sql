-- CreateEnum
CREATE TYPE "AppointmentChannel" AS ENUM ('IN_PERSON', 'VIDEO', 'PHONE');

-- AlterTable
ALTER TABLE "Appointment" ADD COLUMN     "channel" "AppointmentChannel" NOT NULL DEFAULT 'IN_PERSON';

-- CreateIndex
CREATE INDEX "Appointment_status_scheduledAt_idx" ON "Appointment"("status", "scheduledAt");
